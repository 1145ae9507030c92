"""Makes instances of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contrail.environment import OVERRIDES, Environment
from contrail.errors import ConfigError, PluginError
from contrail.registry.plugins import Plugins, blaming, load_plugins
from contrail.registry.registered import Registered
from contrail.shift.shifted import Shift, Shifted

LONGEST = 200  # letters of settings in a message


@dataclass(frozen=True)
class EnvironmentFactory:
    """Makes instances of a registered environment with its settings."""

    name: str
    """The name that is used in messages."""
    registered: Registered[type[Environment]]
    """The class, and the plugin that registered it."""
    settings: Any = None
    """An instance of the class's `Config`; None for the default settings."""
    max_turns: int | None = None
    """Replaces the environment's own limit, if given."""
    workers: int = 0
    """The number of worker processes that a pool may start; 0 to play in this process."""
    step_timeout: float = Environment.step_timeout
    """The number of seconds that a reset or step in a worker process may take."""
    shift: Shift | None = None
    """The interface shift of the instances."""

    @classmethod
    def of(
        cls,
        environment: str | type[Environment],
        settings: Any = None,
        plugins: Plugins | None = None,
    ) -> EnvironmentFactory:
        """Return a factory for an environment given by name or class, without worker processes.

        Args:
            environment: a registered name, or a class.
            settings: an instance of its `Config`; None for the default settings.
            plugins: where a name is looked up; None for the installed plugins.

        Raises:
            ConfigError: no environment has the name.
        """
        if not isinstance(environment, str):
            registered = Registered(environment, environment.__module__)
            return cls(environment.__name__, registered, settings)
        plugins = load_plugins() if plugins is None else plugins
        return cls(environment, plugins.environments[environment], settings)

    @property
    def own_settings(self) -> Any:
        """The settings, also where they are the default ones."""
        return self.registered.value.Config() if self.settings is None else self.settings

    def __str__(self) -> str:
        return f"environment {self.name!r} (plugin {self.registered.plugin!r})"

    def here(self) -> Environment:
        """Make an instance in this process.

        Raises:
            ContrailError: the environment cannot be made.
        """
        try:
            with blaming("environment", self.name, self.registered, "cannot be made"):
                environment = self.registered.value(self.settings)
        except PluginError as error:
            missing = error.__cause__
            if not isinstance(missing, ImportError):
                raise
            raise self.not_installed(missing) from missing
        if self.max_turns is not None:
            environment.max_turns = self.max_turns
        self.check("max_turns", environment.max_turns)
        return environment if self.shift is None else Shifted(environment, self.shift)

    def not_installed(self, missing: ImportError) -> PluginError:
        """Return the error for a package that the environment needs."""
        return PluginError(
            f"{self} needs a package that is not installed: {missing}. "
            f"Try: pip install 'contrail[{self.name}]'"
        )

    def check(self, member: str, value: object) -> None:
        """Refuse an impossible value of `max_turns`, `workers` or `step_timeout`.

        Raises:
            PluginError: the value is impossible.
        """
        wanted, allowed = OVERRIDES[member]
        if not allowed(value):
            raise PluginError(f"{self}: {member} is {value!r}, not {wanted}.")


def no_tasks(name: str, split: str, settings: Any) -> ConfigError:
    """Return the error for an environment whose settings leave it without tasks.

    Args:
        name: of the environment.
        split: that has no tasks.
        settings: an instance of its `Config`.
    """
    from contrail.config import plain, show  # it would slow the start of worker processes

    values = plain(settings)
    shown = ", ".join(f"{key}: {show(value)}" for key, value in values.items())
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} …"
    kind = {"train": "training"}.get(split, split)
    if not values:
        return ConfigError(f"environment {name!r} has no {kind} tasks: tasks({split!r}) is empty.")
    return ConfigError(
        f"environment {name!r} has no {kind} tasks with these settings ({shown}). Change them."
    )
