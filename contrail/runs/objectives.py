"""What the stages of a run learn by, prepared before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from contrail.errors import ConfigError, ContrailError, Key, PluginError, boundary, describe_error
from contrail.runs.composition import Composition
from contrail.stage import Stage
from contrail.stream.scenario import Scenario
from contrail.training.grpo import GRPO
from contrail.training.learner import Learner


def begin_objectives(
    scenario: Scenario, stages: Sequence[Stage], learner: Learner, strategy: Composition
) -> list[str]:
    """Prepare what each stage learns by, which the strategy may change; return notes on tasks that
    objectives leave out, and on what strategies would do in vain.

    Raises:
        ConfigError: an objective does not fit its stage.
    """
    listed = [stage.objective for stage in scenario.train]
    before: list[Stage] = []
    notes = []
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
            for earlier in before if strategy.replays else ():
                objective.replay(learner, earlier)
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
