"""Environments to play on: fast ones in this process, slow ones each in a worker process.

A worker process holds one instance and nothing of torch: about 20 MB and 0.2 s. It is started when
its first episode begins, used until the run ends, and replaced if it dies or hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contrail.environment import Environment
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.remote import Remote


class EnvironmentPool:
    """Instances of the environments, made when needed and used again.

    Args:
        factories: makes the instances of each environment, by the labels of the columns of R.
    """

    def __init__(
        self, factories: Mapping[str, EnvironmentFactory | Callable[[], Environment]]
    ) -> None:
        self._factories = factories
        self._idle: dict[str, list[Environment]] = {name: [] for name in factories}
        self._all: dict[str, list[Environment]] = {name: [] for name in factories}

    def free(self, name: str) -> bool:
        """Return whether `take` can return an instance: the number of worker processes is
        limited."""
        factory = self._factories[name]
        limit = factory.workers if isinstance(factory, EnvironmentFactory) else 0
        return not limit or bool(self._idle[name]) or len(self._all[name]) < limit

    def take(self, name: str) -> Environment:
        """Return an instance that nobody else is using."""
        if self._idle[name]:
            return self._idle[name].pop()
        environment = self._make(name)
        self._all[name].append(environment)
        return environment

    def give(self, name: str, environment: Environment) -> None:
        """Hand an instance back."""
        self._idle[name].append(environment)

    def described(self, name: str) -> str:
        """Return what messages call an environment: its name and, if it is known, its plugin."""
        factory = self._factories[name]
        known = isinstance(factory, EnvironmentFactory)
        return str(factory) if known else f"environment {name!r}"

    def close(self) -> None:
        """Close every instance; worker processes all at the same time."""
        environments = [instance for instances in self._all.values() for instance in instances]
        for environment in environments:
            if isinstance(environment, Remote):
                environment.hang_up()
        for environment in environments:
            environment.close()

    def _make(self, name: str) -> Environment:
        factory = self._factories[name]
        if not isinstance(factory, EnvironmentFactory):
            return factory()
        return Remote(factory) if factory.workers else factory.here()
