"""Tasks that one environment of a stream tests on, and another trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from contrail import leaks
from contrail.config import EnvironmentConfig, RunConfig
from contrail.environment import Environment, Observation, Task
from contrail.errors import ConfigError, Raised, boundary
from contrail.registry.plugins import Plugins
from contrail.stream.listing import Listing, key_of, maker
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
    with _Games(config.environments, listing.pool, plugins) as games:
        found = leaks.shared_start(columns, games.reset, games.game)
    if found:
        key = key_of(config, found[0].label)
        raise ConfigError(leaks.advice(*found), key=key, of_children=True)


class _Games:
    """Context manager: begins tasks without their shifts, which make the same start look different.

    Args:
        environments: whose tasks are begun.
        pool: has those without a shift.
        plugins: the loaded ones.
    """

    def __init__(
        self, environments: Sequence[EnvironmentConfig], pool: EnvironmentPool, plugins: Plugins
    ) -> None:
        own = {
            item.label: maker(replace(item, shift=None), plugins)
            for item in environments
            if item.shift
        }
        self._own = EnvironmentPool(own)
        self._pools = {item.label: self._own if item.shift else pool for item in environments}

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
