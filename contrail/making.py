"""Makes instances of registered environments; whatever goes wrong there names the plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contrail.config_schema import EnvironmentConfig
from contrail.environment import Environment
from contrail.errors import ContrailError, PluginError
from contrail.manager import Plugins, Registered, load_plugins


def maker(config: EnvironmentConfig, plugins: Plugins) -> Callable[[], Environment]:
    """What makes instances of a registered environment with its settings."""
    registered = plugins.environments[config.name]

    def made() -> Environment:
        environment = make(config.name, registered, config.settings)
        if config.max_turns is not None:
            environment.max_turns = config.max_turns
        return environment

    return made


def make(name: str, registered: Registered[type[Environment]], settings: Any = None) -> Environment:
    """One instance; without settings, with its default ones.

    Raises:
        ContrailError: a package or a piece of data is missing, or the environment raised.
    """
    try:
        return registered.value(settings)
    except ImportError as error:
        raise PluginError(
            f"environment {name!r} (plugin {registered.plugin!r}) needs a package that "
            f"is not installed: {error}. Try: pip install 'contrail[{name}]'"
        ) from error
    except (Exception, SystemExit) as error:
        raise blamed("environment", name, registered, "cannot be made", error) from error


def blamed(
    kind: str, name: str, registered: Registered[Any], what: str, error: BaseException
) -> ContrailError:
    """The error with the name of the plugin that caused it; errors for humans stay as they are."""
    if isinstance(error, ContrailError):
        return error
    return PluginError(
        f"{kind} {name!r} (plugin {registered.plugin!r}): {what}: {type(error).__name__}: {error}"
    )


def find(
    environment: str | type[Environment], plugins: Plugins | None = None
) -> tuple[str, Registered[type[Environment]]]:
    """An environment's name and class, of either.

    Raises:
        ConfigError: no environment has the name.
    """
    if not isinstance(environment, str):
        return environment.__name__, Registered(environment, environment.__module__)
    return environment, (load_plugins() if plugins is None else plugins).environments[environment]
