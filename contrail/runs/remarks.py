"""Notes on the plugins that a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contrail.config import Component, RunConfig
from contrail.registry.members import misspelt
from contrail.registry.plugins import Plugins
from contrail.registry.registered import Registered


def remarks(config: RunConfig, plugins: Plugins) -> list[str]:
    """Return a note on each member of a run's plugins that looks misspelt: it is never used."""
    found = [
        f"{kind} {name!r} (plugin {registered.plugin!r}): {member} is never used. Did you mean "
        f"{near}?"
        for kind, name, registered in _used(config, plugins)
        for member, near in misspelt(registered.value)
    ]
    return list(dict.fromkeys(found))


def _used(config: RunConfig, plugins: Plugins) -> Iterator[tuple[str, str, Registered[Any]]]:
    learnt: list[Component] = [stage.learn for stage in config.stream]
    if config.warmup is not None:
        learnt.append(config.warmup.learn)
    used: dict[Any, list[Component]] = {
        "environments": list(config.environments),
        "adapters": [config.adapter, *(stage.adapter for stage in config.stream)],
        "strategies": list(config.strategies),
        "objectives": learnt,
    }
    for kind, components in used.items():
        table = getattr(plugins, kind)
        for component in components:
            registered = table[component.name]
            if not registered.value.__module__.startswith("contrail."):
                yield table.kind, component.name, registered
