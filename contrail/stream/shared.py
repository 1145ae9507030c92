"""Tasks that one environment tests on, and another trains on, or has trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from contrail import leaks
from contrail.config import EnvironmentConfig, RunConfig, TaskFilter
from contrail.environment import Environment, Observation, Task
from contrail.errors import ConfigError, Raised, boundary
from contrail.registry.plugins import Plugins
from contrail.stream.listing import Listing, key_of, list_tasks, maker, training_tasks
from contrail.workers.pool import EnvironmentPool

if TYPE_CHECKING:
    from contrail.stage import Stage

T = TypeVar("T")


def refuse_shared(
    config: RunConfig, plugins: Plugins, listing: Listing, stages: Sequence[Stage]
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
    pools = {item.label: listing.pool for item in config.environments}
    with _Games(config.environments, pools, plugins) as games:
        found = leaks.shared_start(columns, games.reset, games.game)
    if found:
        key = key_of(config, found[0].label)
        raise ConfigError(leaks.advice(*found), key=key, of_children=True)


def trained_before(
    item: EnvironmentConfig,
    tested: Sequence[Task],
    pool: EnvironmentPool,
    past: EnvironmentConfig,
    filters: Sequence[TaskFilter],
    plugins: Plugins,
) -> Task | None:
    """Return a test task on which the same environment, with other settings, has been trained.

    Args:
        item: the environment that is tested.
        tested: its test tasks.
        pool: to play it on.
        past: the environment with its other settings; its label may be the same.
        filters: the training tasks of each of its stages.
        plugins: the loaded ones.

    Raises:
        ContrailError: the environment cannot be made with the other settings, or has no tasks.
    """
    past = replace(past, label=f"{item.label}, before")
    cls = plugins.environments[item.name].value
    before = EnvironmentPool({past.label: maker(past, plugins)})
    try:
        tasks = list_tasks(before, past, plugins)["train"]
        trained = [task for wanted in filters for task in training_tasks(tasks, wanted)]
        columns = [
            leaks.Column(item.label, cls, item.settings, (), tested),
            leaks.Column(past.label, cls, past.settings, trained, ()),
        ]
        pools = {item.label: pool, past.label: before}
        with _Games([item, past], pools, plugins) as games:
            found = leaks.shared_start(columns, games.reset, games.game)
    finally:
        before.close()
    return found[2] if found else None


class _Games:
    """Context manager: begins tasks without their shifts, which make the same start look different.

    Args:
        environments: whose tasks are begun.
        pools: the pool of each by its label, which serves where there is no shift.
        plugins: the loaded ones.
    """

    def __init__(
        self,
        environments: Sequence[EnvironmentConfig],
        pools: Mapping[str, EnvironmentPool],
        plugins: Plugins,
    ) -> None:
        own = {
            item.label: maker(replace(item, shift=None), plugins)
            for item in environments
            if item.shift
        }
        self._own = EnvironmentPool(own)
        self._pools = {**pools, **dict.fromkeys(own, self._own)}

    def __enter__(self) -> _Games:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    def reset(self, label: str, task: Task) -> Observation | None:
        """Begin a task; None if the environment raises, which playing the task will say."""
        return self._ask(label, lambda environment: environment.reset(task))

    def game(self, label: str, task: Task) -> str | None:
        """Return `Environment.game`; None also if the environment raises."""
        return self._ask(label, lambda environment: environment.game(task))

    def _ask(self, label: str, question: Callable[[Environment], T]) -> T | None:
        environment = self._pools[label].take(label)
        try:
            with boundary():
                return question(environment)
        except Raised:
            return None
        finally:
            self._pools[label].give(label, environment)
