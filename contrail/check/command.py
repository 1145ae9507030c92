"""`contrail check`: which environments, and with what settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from contrail.check import Report, check
from contrail.config_convert import build
from contrail.config_source import Source
from contrail.errors import PluginError
from contrail.manager import Plugins


def check_named(name: str, more: Sequence[str], plugins: Plugins, tasks: int) -> list[Report]:
    """Check the environment of a name, or all those that a plugin file registers.

    Args:
        name: a registered environment, or a plugin file.
        more: `key=value` is a setting, anything else a plugin to load before.
        plugins: those loaded already.
        tasks: so many tasks of each split are played.

    Raises:
        ContrailError: a name, plugin or setting is wrong, or an environment cannot be made.
    """
    for plugin in more:
        if "=" not in plugin:
            plugins.add_named(plugin, Path.cwd())
    source = Source.of_overrides([text for text in more if "=" in text])
    reports = []
    for one in plugins.environments_of(name):
        registered = plugins.environments[one]
        config = registered.value.Config
        if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
            raise PluginError(
                f"plugin {registered.plugin!r}: the environment {one!r} has a Config that is not a "
                "dataclass. Decorate it."
            )
        settings = build(source, config, source.values, ())
        reports.append(check(one, settings, tasks=tasks, plugins=plugins))
    return reports
