"""The beginning of what the stages of a run learn by."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from contrail.config import RunConfig, plain
from contrail.errors import ConfigError, ContrailError, Key, PluginError, boundary, describe_error
from contrail.runs.composition import Composition
from contrail.stage import Stage
from contrail.stream.scenario import Scenario
from contrail.training.grpo import GRPO
from contrail.training.learner import Learner
from contrail.values import as_texts


def begin_objectives(
    config: RunConfig,
    scenario: Scenario,
    stages: Sequence[Stage],
    learner: Learner,
    strategy: Composition,
) -> list[str]:
    """Prepare what each stage learns by, which the strategy may change; return notes of
    the objectives, and on tasks that they leave out.

    Raises:
        ConfigError: an objective does not fit its stage.
    """
    environments = {item.environment.label: plain(item.environment) for item in config.stream}
    listed = [stage.objective for stage in scenario.train]
    before: list[Stage] = []
    notes: list[str] = []
    for stage in stages:
        objective = stage.objective or GRPO()
        if stage.warmup:
            key: Key = ("warmup", "learn")
        else:
            index = listed.index(stage.objective) if stage.objective in listed else 0
            key = ("stream", index, "learn")
            objective = strategy.objective(stage, objective)
        stage.objective = objective

        def blame(error: BaseException, who: object = objective, key: Key = key) -> ContrailError:
            if isinstance(error, ConfigError):
                return ConfigError(error.message, key=(*key, *(error.key or ())))
            if isinstance(error, ContrailError):
                return error
            return PluginError(f"objective {type(who).__name__}: begin: {describe_error(error)}")

        listed_tasks = {name: len(tasks) for name, tasks in stage.tasks.items()}
        with boundary(blame):
            objective.begin(learner, stage)
            played = [stage.environments]
            for earlier in before if strategy.replays else ():
                objective.replay(learner, earlier)
                played.append(earlier.environments)
            taught = list(dict.fromkeys(itertools.chain(*played)))
            found = as_texts(objective.notes(taught, environments), "notes")
        notes += [note for note in found if note not in notes]
        notes += [
            f"stage {stage.name} learns from {len(stage.tasks[name])} of {count} training tasks of "
            f"{name}: its objective has none of the others"
            for name, count in listed_tasks.items()
            if len(stage.tasks[name]) < count
        ]
        if not stage.warmup:
            before.append(stage)
            giving = [] if objective.has_advantages else strategy.gives_bonus(len(before))
            notes += [
                f"the bonus of {name!r} has no effect in the stage {stage.name!r}: "
                f"{type(objective).__name__} has no advantages"
                for name in giving
            ]
    return notes
