"""For tests: what a stream file is built into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contrail.config import Source, load
from contrail.registry.plugins import load_plugins
from contrail.stream.listing import listed
from contrail.stream.scenario import Scenario, make_scenario


@contextmanager
def built(path: Path) -> Iterator[Scenario]:
    """Context manager: the scenario of a stream file; its environments are closed at the end."""
    source = Source(path)
    with source.located():
        config, plugins = load(source, (), load_plugins())
        with listed(config, plugins) as listing:
            yield make_scenario(config, plugins, listing)
