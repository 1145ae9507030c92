"""From the configuration to Avalanche's stream of stages, each with its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contrail.adapter import Adapter, check_attributes
from contrail.config import Component, EnvironmentConfig, RunConfig
from contrail.environment import Environment
from contrail.errors import ConfigError, Key, nearest
from contrail.registry.plugins import Plugins, blaming
from contrail.rollout.first_task import try_tasks
from contrail.stream.listing import Listing, training_tasks
from contrail.stream.shared import refuse_shared
from contrail.tasks.selection import test_tasks
from contrail.training.objective import Objective
from contrail.workers.pool import EnvironmentPool

if TYPE_CHECKING:
    from contrail.stage import Stage


@dataclass
class Scenario:
    """The subject of a run: the stages to train, the environments to evaluate, and where to play
    them."""

    train: Sequence[Stage]
    test: Sequence[Stage]
    pool: EnvironmentPool
    warmup: Stage | None = None
    trainable: Mapping[str, frozenset[tuple[str, int]]] = field(default_factory=dict)
    """All training tasks by environment: the id and the seed of each."""

    @property
    def environments(self) -> list[str]:
        """The columns of R."""
        return [stage.name for stage in self.test]

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The adapter of each environment, for tasks from beyond the present stage."""
        return {test.name: test.adapters[test.name] for test in self.test}


def make_scenario(config: RunConfig, plugins: Plugins, listing: Listing) -> Scenario:
    """Make the adapters and the stages, and begin a task of each environment.

    Raises:
        ContrailError: an environment or adapter raised, or they do not fit together.
    """
    from contrail.compat.avalanche import EagerCLStream  # it imports torch
    from contrail.stage import Stage

    pool = listing.pool
    stages = []
    adapter_of: dict[str, Adapter] = {}
    for index, stage in enumerate(config.stream):
        label = stage.environment.label
        tasks = training_tasks(listing.tasks[label]["train"], stage.train)
        adapter = make_adapter(stage.adapter, plugins)
        adapter_of.setdefault(label, adapter)
        try_tasks(pool, stage.environment, tasks, (stage.adapter.name, adapter), plugins)
        objective = make_objective(stage.learn, plugins)
        _check_expert(objective, stage.environment, plugins, ("stream", index, "learn"))
        _check_named(objective, config, ("stream", index, "learn"))
        stages.append(Stage(stage.name, {label: tasks}, {label: adapter}, stage.updates, objective))
    tests = []
    for item in config.environments:
        tasks = test_tasks(listing.tasks[item.label]["test"], config.evaluate.tasks)
        if item.label not in adapter_of:
            component = config.adapter_of(item.label)
            adapter = adapter_of[item.label] = make_adapter(component, plugins)
            try_tasks(pool, item, tasks, (component.name, adapter), plugins)
        tests.append(Stage(item.label, {item.label: tasks}, {item.label: adapter_of[item.label]}))
    refuse_shared(config, plugins, listing, stages)
    warmup = None
    if config.warmup is not None:
        objective = make_objective(config.warmup.learn, plugins)
        for stage in config.stream:
            _check_expert(objective, stage.environment, plugins, ("warmup", "learn"))
        _check_named(objective, config, ("warmup", "learn"))
        try:
            warmup = Stage.warm_up(stages, config.warmup.updates, objective)
        except ConfigError as error:
            raise ConfigError(str(error), key=("warmup",)) from error
    train, test = EagerCLStream("train", stages), EagerCLStream("test", tests)
    trainable = {
        label: frozenset((task.id, task.seed) for task in listed["train"])
        for label, listed in listing.tasks.items()
    }
    return Scenario(train, test, pool, warmup, trainable)


def _check_expert(
    objective: Objective | None,
    environment: EnvironmentConfig,
    plugins: Plugins,
    key: Key,
    why: str = "",
) -> None:
    """Refuse to learn from an expert where there is none.

    Raises:
        ConfigError: the environment's class has no `expert`.
    """
    if objective is None or not objective.needs_expert:
        return
    if plugins.environments[environment.name].value.expert is Environment.expert:
        raise ConfigError(
            f"{environment.name!r} has no expert to learn from{why}. Choose another objective, or "
            "for `imitate` recorded `episodes`.",
            key=key,
        )


def _check_named(objective: Objective | None, config: RunConfig, key: Key) -> None:
    """Refuse an objective that names an environment of another run.

    Raises:
        ConfigError: there is no such environment.
    """
    labels = [item.label for item in config.environments]
    for name in objective.named if objective is not None else ():
        if name not in labels:
            raise ConfigError(
                f"the run has no environment {name!r}. {nearest(name, labels)}", key=key
            )


def check_replayed(config: RunConfig, scenario: Scenario, plugins: Plugins) -> None:
    """Refuse a stage that learns from an expert and, through its strategy, replays tasks without.

    Raises:
        ConfigError: the environment of an earlier stage has no `expert`.
    """
    for index, stage in enumerate(scenario.train):
        for earlier in config.stream[:index]:
            why = f", and the strategy replays its tasks in the stage {stage.name!r}"
            key = ("stream", index, "learn")
            _check_expert(stage.objective, earlier.environment, plugins, key, why)


def make_adapter(component: Component, plugins: Plugins) -> Adapter:
    """Return an instance of a registered adapter.

    Raises:
        PluginError: it raised, or has an attribute of another kind.
    """
    registered = plugins.adapters[component.name]
    with blaming("adapter", component.name, registered, "cannot be made"):
        made = registered.value(component.settings)
        check_attributes(made)
    return made


def make_objective(component: Component, plugins: Plugins) -> Objective:
    """An instance of a registered objective.

    Raises:
        PluginError: it raised.
    """
    registered = plugins.objectives[component.name]
    with blaming("objective", component.name, registered, "cannot be made"):
        return registered.value(component.settings)
