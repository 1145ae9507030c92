"""Every environment that ships keeps the contract; those whose extra is missing are skipped."""

from __future__ import annotations

from typing import Any

import pytest

import contrail.check
from contrail.errors import ContrailError
from contrail.registry import load_plugins
from contrail.workers.factory import EnvironmentFactory

PLUGINS = load_plugins()

# Settings that keep it short, or without which there is nothing to check.
SETTINGS: dict[str, dict[str, Any]] = {
    "babyai": {
        "levels": ["GoToLocal", "PickupLoc", "UnlockLocalDist"],
        "train_tasks": 9,
        "test_tasks": 9,
    },
    "sciworld": {"tasks": ["find-living-thing", "lifespan-longest-lived"], "variations": 2},
    "gymnasium": {"id": "FrozenLake-v1", "actions": ["left", "down", "right", "up"]},
}


@pytest.mark.parametrize("name", list(PLUGINS.environments))
def test_it_keeps_the_contract(name: str) -> None:
    if name == "openenv":
        pytest.skip("it needs a server: tests/bridges/test_bridges.py starts one")
    registered = PLUGINS.environments[name]
    settings = registered.value.Config(**SETTINGS.get(name, {}))
    try:
        EnvironmentFactory(name, registered, settings).here().close()
    except ContrailError as error:
        if isinstance(error.__cause__, ImportError) or "needs Java" in str(error):
            pytest.skip(str(error))
        raise
    tasks = 1 if name == "sciworld" else 2  # every reset of sciworld takes a third of a second
    assert not contrail.check.check(name, settings, tasks=tasks, plugins=PLUGINS).failed
