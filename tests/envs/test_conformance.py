"""Every environment that ships keeps the contract; those whose extra is missing are skipped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import contrail.check
from contrail.environment import SPLITS
from contrail.errors import ContrailError
from contrail.registry import load_plugins
from contrail.workers.factory import EnvironmentFactory

PLUGINS = load_plugins()
# openenv needs a server: tests/bridges/test_bridges.py starts one. textworld fills the cache:
# tests/envs/test_textworld.py checks it with one of its own.
SLOW = ("alfworld", "sciworld", "textworld-express")
NAMES = [name for name in PLUGINS.environments if name not in ("openenv", "textworld")]

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


def make(name: str) -> EnvironmentFactory:
    """Its factory, with short settings.

    Raises:
        ContrailError: its extra is missing.
    """
    registered = PLUGINS.environments[name]
    return EnvironmentFactory(name, registered, registered.value.Config(**SETTINGS.get(name, {})))


@pytest.mark.usefixtures("quick_java")
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


def listed() -> dict[str, str]:
    """A digest of each environment's tasks; of those that are installed."""
    found = {}
    for name in NAMES:
        with contextlib.suppress(ContrailError):
            environment = make(name).here()
            tasks = [environment.tasks(split) for split in SPLITS]
            found[name] = hashlib.sha256(repr(tasks).encode()).hexdigest()
            environment.close()
    return found


@pytest.mark.slow
def test_tasks_are_listed_alike_under_another_hash_seed() -> None:
    """`check` plays the same tasks in another process; here they are listed there."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import json, test_conformance; print(json.dumps(test_conformance.listed()))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(there.stdout.splitlines()[-1]) == listed()
