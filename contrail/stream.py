"""From the configuration to Avalanche's stream of stages, each with its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from contrail import leaks
from contrail.adapter import Adapter
from contrail.config import Component, EnvironmentConfig, RunConfig, task_source
from contrail.environment import Environment, Observation, Task
from contrail.errors import ConfigError, Key, PluginError, Raised, boundary, nearest
from contrail.registry.plugins import Plugins, blaming
from contrail.rollout.first_task import try_tasks
from contrail.tasks.selection import test_tasks, untested
from contrail.tasks.split import read_rates
from contrail.training.objective import Objective
from contrail.values import as_texts, shown
from contrail.workers.factory import EnvironmentFactory, no_tasks
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

    @property
    def environments(self) -> list[str]:
        """The columns of R."""
        return [stage.name for stage in self.test]

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The adapter of each environment, for tasks from beyond the present stage."""
        return {test.name: test.adapters[test.name] for test in self.test}


@dataclass
class Listing:
    """The tasks of a run's environments, by label and split, and the pool that listed them."""

    pool: EnvironmentPool
    tasks: dict[str, dict[str, list[Task]]]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What the environments say about their tasks, by label."""


@contextmanager
def listed(config: RunConfig, plugins: Plugins) -> Iterator[Listing]:
    """Context manager: make the environments and list their tasks, then close the environments.

    It imports nothing heavy, so a mistake in an environment's settings or in a difficulty is
    reported at once.

    Raises:
        ContrailError: an environment cannot be made, or a stage or environment has no tasks.
    """
    pool = EnvironmentPool({item.label: maker(item, plugins) for item in config.environments})
    try:
        tasks, notes = {}, {}
        for item in config.environments:
            try:
                tasks[item.label] = list_tasks(pool, item, plugins)
                notes[item.label] = _notes(pool, item, plugins)
            except ConfigError as error:  # of the environment's own settings
                key = _written(config, item.label)
                raise ConfigError(str(error), key=key, of_children=True) from error
        _check_difficulties(config, tasks)
        for label, lines in _untested(config, tasks).items():
            notes[label] = (*notes[label], *lines)
        yield Listing(pool, tasks, notes)
    finally:
        pool.close()


def _check_difficulties(
    config: RunConfig, tasks: Mapping[str, Mapping[str, Sequence[Task]]]
) -> None:
    """Refuse a difficulty that no training task has.

    Raises:
        ConfigError: a stage names one.
    """
    for index, stage in enumerate(config.stream):
        label = stage.environment.label
        known = sorted({task.difficulty for task in tasks[label]["train"]} - {None}, key=str)
        for value in stage.train.difficulty or ():
            if value not in known:
                raise ConfigError(
                    f"{label!r} has no training task of difficulty {value!r}. "
                    f"{nearest(value, known) if known else 'Its tasks have no difficulty.'}",
                    key=("stream", index, "train", "difficulty"),
                )


def _untested(
    config: RunConfig, tasks: Mapping[str, Mapping[str, Sequence[Task]]]
) -> dict[str, list[str]]:
    """Return by environment a warning if a stage trains on difficulties that are never tested."""
    found: dict[str, list[str]] = {}
    for stage in config.stream:
        label = stage.environment.label
        wanted = stage.train.difficulty
        train = [
            task for task in tasks[label]["train"] if wanted is None or task.difficulty in wanted
        ]
        tested = test_tasks(tasks[label]["test"], config.evaluate.tasks)
        if lacking := untested(train, tested):
            listed = ", ".join(map(str, lacking))
            text = f"no test task has the difficulty {listed}, which training tasks have"
            found[label] = [text]
    return found


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
        tasks = listing.tasks[label]["train"]
        if stage.train.difficulty is not None:
            tasks = [task for task in tasks if task.difficulty in stage.train.difficulty]
        tasks = tasks[: stage.train.tasks]
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
    _refuse_leaks(config, plugins, listing, stages)
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
    return Scenario(train, test, pool, warmup)


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


def _refuse_leaks(
    config: RunConfig,
    plugins: Plugins,
    listing: Listing,
    stages: Sequence[Stage],
) -> None:
    """Refuse a stream in which one label tests on a task that another label trains on.

    Raises:
        ConfigError: there is such a task; the message names both labels and the task.
    """
    columns = [
        leaks.Column(
            item.label,
            plugins.environments[item.name].value,
            item.settings,
            [task for stage in stages for task in stage.tasks.get(item.label, ())],
            listing.tasks[item.label]["test"],
        )
        for item in config.environments
    ]

    # A shift makes the same start look different.
    plain = {item.label: replace(item, shift=None) for item in config.environments if item.shift}
    unshifted = EnvironmentPool({label: maker(item, plugins) for label, item in plain.items()})

    def reset(label: str, task: Task) -> Observation | None:
        pool = unshifted if label in plain else listing.pool
        environment = pool.take(label)
        try:
            with boundary():
                return environment.reset(task)
        except Raised:  # playing it will say so
            return None
        finally:
            pool.give(label, environment)

    def game(label: str, task: Task) -> str | None:
        environment = listing.pool.take(label)
        try:
            with boundary():
                return environment.game(task)
        except Raised:
            return None
        finally:
            listing.pool.give(label, environment)

    try:
        found = leaks.shared_start(columns, reset, game)
    finally:
        unshifted.close()
    if found:
        key = _written(config, found[0].label)
        raise ConfigError(leaks.advice(*found), key=key, of_children=True)


def _written(config: RunConfig, label: str) -> tuple[str | int, ...]:
    """Return the key at which an environment is first named."""
    for index, stage in enumerate(config.stream):
        if stage.environment.label == label:
            return ("stream", index, "environment")
    labels = [item.label for item in config.evaluate.environments]
    return ("evaluate", "environments", labels.index(label))


def make_adapter(component: Component, plugins: Plugins) -> Adapter:
    """Return an instance of a registered adapter.

    Raises:
        PluginError: it raised.
    """
    registered = plugins.adapters[component.name]
    with blaming("adapter", component.name, registered, "cannot be made"):
        return registered.value(component.settings)


def make_objective(component: Component, plugins: Plugins) -> Objective:
    """An instance of a registered objective.

    Raises:
        PluginError: it raised.
    """
    registered = plugins.objectives[component.name]
    with blaming("objective", component.name, registered, "cannot be made"):
        return registered.value(component.settings)


def maker(config: EnvironmentConfig, plugins: Plugins) -> EnvironmentFactory:
    """Return a factory for a registered environment with its settings.

    Raises:
        PluginError: its class has an impossible value of `workers` or `step_timeout`.
    """
    registered = plugins.environments[config.name]
    make = EnvironmentFactory(
        config.name, registered, config.settings, config.max_turns, shift=config.shift
    )
    own = {}
    for member in ("workers", "step_timeout"):
        value = getattr(config, member)
        own[member] = getattr(registered.value, member) if value is None else value
        make.check(member, own[member])
    return replace(make, **own)


def list_tasks(
    pool: EnvironmentPool, config: EnvironmentConfig, plugins: Plugins
) -> dict[str, list[Task]]:
    """Return the tasks of both splits.

    Raises:
        ConfigError: a split has no tasks with the environment's settings.
        PluginError: the environment raised, or the splits share a task.
    """
    registered = plugins.environments[config.name]
    environment = pool.take(config.label)
    listed: dict[str, list[Task]] = {}
    for split in ("train", "test"):
        what = f"tasks({split!r})"
        with blaming("environment", config.name, registered, what):
            answer = environment.tasks(split)
            tasks = list(answer)
        if not tasks:
            raise no_tasks(config.label, split, config.settings)
        if not all(isinstance(task, Task) for task in tasks):
            raise PluginError(
                f"environment {config.name!r} (plugin {registered.plugin!r}): {what} must return a "
                f"list of contrail.Task; it returned {shown(answer)}"
            )
        if config.pass_rates is not None:
            rates = read_rates(Path(config.pass_rates.file), task_source(config))
            tasks = rates.applied(split, tasks)
            if not tasks:
                raise ConfigError(
                    f"{config.pass_rates.file} names no {split} task that {config.label!r} has. "
                    "Run `contrail split` again."
                )
        times = Counter(task.id for task in tasks)
        repeated = [name for name, count in times.items() if count > 1]
        if repeated:
            raise PluginError(
                f"environment {config.name!r} (plugin {registered.plugin!r}): {what} has several "
                f"tasks with the id {repeated[0]!r}. Scores are kept by id: give each its own."
            )
        listed[split] = [replace(task, environment=config.label) for task in tasks]
    seen = {(task.id, task.seed) for task in listed["train"]}
    shared = [task.id for task in listed["test"] if (task.id, task.seed) in seen]
    if shared:
        raise PluginError(
            f"environment {config.name!r} (plugin {registered.plugin!r}): the task {shared[0]!r} "
            "stands in both splits, so what is tested would have been trained on."
        )
    pool.give(config.label, environment)
    return listed


def _notes(pool: EnvironmentPool, config: EnvironmentConfig, plugins: Plugins) -> tuple[str, ...]:
    """Return the notes of the instance that has listed the tasks.

    Raises:
        PluginError: they are no texts.
    """
    registered = plugins.environments[config.name]
    environment = pool.take(config.label)
    with blaming("environment", config.name, registered, "notes"):
        notes = tuple(as_texts(environment.notes, "notes"))
    pool.give(config.label, environment)
    return notes
