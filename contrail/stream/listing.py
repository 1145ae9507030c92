"""The tasks of a stream's environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from contrail.config import EnvironmentConfig, RunConfig, TaskFilter, task_source
from contrail.environment import Task
from contrail.errors import ConfigError, PluginError, nearest
from contrail.registry.plugins import Plugins, blaming
from contrail.tasks.selection import test_tasks, untested
from contrail.tasks.split import read_rates
from contrail.values import as_texts, shown
from contrail.workers.factory import EnvironmentFactory, no_tasks
from contrail.workers.pool import EnvironmentPool


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
                key = key_of(config, item.label)
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
        train = training_tasks(tasks[label]["train"], replace(stage.train, tasks=None))
        tested = test_tasks(tasks[label]["test"], config.evaluate.tasks)
        if lacking := untested(train, tested):
            listed = ", ".join(map(str, lacking))
            text = f"no test task has the difficulty {listed}, which training tasks have"
            found[label] = [text]
    return found


def key_of(config: RunConfig, label: str) -> tuple[str | int, ...]:
    """Return the key at which an environment is first named."""
    for index, stage in enumerate(config.stream):
        if stage.environment.label == label:
            return ("stream", index, "environment")
    labels = [item.label for item in config.evaluate.environments]
    return ("evaluate", "environments", labels.index(label))


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


def training_tasks(tasks: Sequence[Task], wanted: TaskFilter) -> list[Task]:
    """Return the training tasks that a stage uses."""
    if wanted.difficulty is not None:
        tasks = [task for task in tasks if task.difficulty in wanted.difficulty]
    return list(tasks[: wanted.tasks])


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
