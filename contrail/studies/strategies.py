"""The strategies of a study: each must learn its sequences as one agent, stage after stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from contrail.comparison.entries import read_entry
from contrail.comparison.plan import PlannedRun
from contrail.config import RunConfig, show
from contrail.environment import Task
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import Plugins
from contrail.runs.loras import SPECIALISED
from contrail.stream.listing import listed, training_tasks
from contrail.stream.scenario import make_adapter, make_objective
from contrail.studies.design import MIXTURE, SEQUENTIAL

if TYPE_CHECKING:
    from contrail.stage import Stage

INSTEAD = "Remove it; `contrail compare` shows it beside other strategies."


def read_strategies(values: Any) -> dict[str, Any]:
    """Return the strategies that a study's file names, by label.

    Raises:
        ConfigError: they are no list, or one has no place in a study.
    """
    if not isinstance(values, list) or not values:
        raise ConfigError(
            f"{show(values)} is not a list of strategies. Write `strategies: [sequential]`.",
            key=("strategies",),
        )
    found: dict[str, Any] = {}
    for index, value in enumerate(values):
        try:
            entry = read_entry(value)
        except ConfigError as error:
            raise ConfigError(str(error), key=("strategies", index)) from error
        if entry.changes:
            raise ConfigError(
                "`set` has no place in a study. Set the key for the whole study, or use "
                "`contrail compare`.",
                key=("strategies", index, "set"),
            )
        plain = entry.strategy in (SEQUENTIAL, {"name": SEQUENTIAL})
        if entry.label == SEQUENTIAL and not plain:
            raise ConfigError(
                f"{entry.label!r}: the study trains single environments with the strategy of "
                "that name. Choose another label.",
                key=("strategies", index),
            )
        if entry.label in (MIXTURE, *found):
            hint = "It is in the study already." if entry.label == MIXTURE else "Remove one."
            raise ConfigError(f"{entry.label!r}: {hint}", key=("strategies", index))
        found[entry.label] = entry.strategy
    return found


def check_sequences(runs: Sequence[PlannedRun], plugins: Plugins) -> None:
    """Refuse a strategy of which the claims about sequences would say what is not so.

    Args:
        runs: of one strategy, one for each order.
        plugins: the loaded ones.

    Raises:
        ConfigError: its stages begin anew, its environments have LoRAs of their own, or it does not
            train the stages of a sequence one after the other.
    """
    from contrail.runs.composition import compose  # it imports torch

    label, first = runs[0].strategy, runs[0].config
    if compose(first, plugins).restarts:
        raise ConfigError(
            f"{label!r}: every stage begins with the base model, so no agent learns the sequence, "
            f"and what the claims take for forgetting is none. {INSTEAD}"
        )
    if any(component.name in SPECIALISED for component in first.strategies):
        raise ConfigError(
            f"{label!r}: environments are evaluated with LoRAs of their own, so nothing can be "
            f"forgotten and no order can matter, whatever is learnt. {INSTEAD}"
        )
    for run in runs:
        try:
            if _in_turn(
                run.config, compose(run.config, plugins).stages(stages_of(run.config, plugins))
            ):
                continue
        except ContrailError:  # it may need tasks, which take a while to list
            pass
        with listed(run.config, plugins) as listing:
            tasks = {label: of["train"] for label, of in listing.tasks.items()}
        made = compose(run.config, plugins).stages(stages_of(run.config, plugins, tasks))
        if not _in_turn(run.config, made):
            trained = "; ".join(", ".join(stage.environments) for stage in made)
            raise ConfigError(
                f"{label!r} does not learn a sequence stage by stage: of {' > '.join(run.order)} "
                f"it makes {len(made)} ({trained}). {INSTEAD}"
            )


def stages_of(
    config: RunConfig, plugins: Plugins, tasks: Mapping[str, Sequence[Task]] | None = None
) -> list[Stage]:
    """Return the stages of a stream as a strategy is given them; by default without any tasks."""
    from contrail.stage import Stage  # it imports torch

    return [
        Stage(
            item.name,
            {
                item.environment.label: training_tasks(
                    (tasks or {}).get(item.environment.label, ()), item.train
                )
            },
            {item.environment.label: make_adapter(item.adapter, plugins)},
            item.updates,
            make_objective(item.learn, plugins),
        )
        for item in config.stream
    ]


def _in_turn(config: RunConfig, made: Sequence[Stage]) -> bool:
    """Return whether these are the stages of the stream: each on its own environment, and on none
    of a later one."""
    labels = [stage.environment.label for stage in config.stream]
    return len(made) == len(labels) and all(
        {label} <= set(stage.environments) <= set(labels[: place + 1])
        for place, (label, stage) in enumerate(zip(labels, made, strict=True))
    )
