"""Every environment that ships keeps the contract; those whose extra is missing are skipped."""

from __future__ import annotations

from typing import Any

import pytest

import contrail.check
from contrail.errors import ContrailError
from contrail.registry.plugins import load_plugins
from contrail.workers.factory import EnvironmentFactory

PLUGINS = load_plugins()
# They need a server, or code of others, or, as textworld, a cache of their own; each has a test of
# its own.
FOREIGN = ("agentgym", "openenv", "textworld", "trl", "verifiers")
SLOW = ("alfworld", "sciworld", "textworld-express")
NAMES = [name for name in PLUGINS.environments if name not in FOREIGN]

# Settings that keep it short, or without which there is nothing to check.
SETTINGS: dict[str, dict[str, Any]] = {
    "babyai": {
        "levels": ["GoToLocal", "PickupLoc", "UnlockLocalDist"],
        "train_tasks": 9,
        "test_tasks": 9,
    },
    "sciworld": {"tasks": ["find-living-thing", "lifespan-longest-lived"], "variations": 1},
    "gymnasium": {"id": "FrozenLake-v1", "actions": ["left", "down", "right", "up"]},
}


def make(name: str) -> EnvironmentFactory:
    """Its factory, with short settings.

    Raises:
        ContrailError: its extra is missing.
    """
    registered = PLUGINS.environments[name]
    return EnvironmentFactory(name, registered, registered.value.Config(**SETTINGS.get(name, {})))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES],
)
def test_it_keeps_the_contract(name: str, request: pytest.FixtureRequest) -> None:
    if name in SLOW:
        request.getfixturevalue("few_checked")
    factory = make(name)
    try:
        factory.here().close()
    except ContrailError as error:
        if isinstance(error.__cause__, ImportError) or "needs Java" in str(error):
            pytest.skip(str(error))
        raise
    tasks = 1 if name == "sciworld" else 2  # every reset of sciworld takes a third of a second
    assert not contrail.check.check(name, factory.settings, tasks=tasks, plugins=PLUGINS).failed
