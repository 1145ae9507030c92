"""What a server of OpenEnv does wrong is a fault of its episode, or said as a wrong setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_openenv import Servers, free_ports, server  # noqa: F401  (a fixture)

from contrail import Observation, Task
from contrail.envs.openenv.environment import OpenEnv, OpenEnvConfig
from contrail.errors import ConfigError, ContrailError
from contrail.plugins.adapters.choose import Choose
from contrail.rollout.play import EnvironmentPool, Job, play
from contrail.seeding import generator

pytest.importorskip("openenv")
OVER = Task("openenv", "seed--2", -2, "train")
TASK = Task("openenv", "seed-0", 0, "train")


@pytest.fixture
def pool(server: Servers) -> Iterator[EnvironmentPool]:  # noqa: F811
    ports = {"guess": server.url, "gone": f"http://127.0.0.1:{free_ports(1)[0]}"}
    made = EnvironmentPool(
        {
            name: lambda url=url: OpenEnv(OpenEnvConfig(url, actions="choices"))  # type: ignore[misc]
            for name, url in ports.items()
        }
    )
    yield made
    made.close()


def faults(policy: Any, pool: EnvironmentPool, *jobs: tuple[str, Task]) -> list[str | None]:
    played = [Job(name, task, Choose(), generator(0, "test")) for name, task in jobs]
    return [episode.fault for episode in play(policy, pool, played)]


def test_an_episode_that_is_over_at_once_is_a_fault(pool: EnvironmentPool, make_tiny: Any) -> None:
    over, whole = faults(make_tiny(), pool, ("guess", OVER), ("guess", TASK))
    assert whole is None
    assert over is not None
    assert re.search(r"reset: .*http.* ends the episode of seed -2 before it begins\.", over)


def test_sessions_that_cannot_be_opened_are_faults(pool: EnvironmentPool, make_tiny: Any) -> None:
    *gone, whole = faults(make_tiny(), pool, ("gone", TASK), ("gone", TASK), ("guess", TASK))
    assert whole is None
    for fault in gone:
        assert fault is not None
        assert re.search("reset: .*no server answers at http.* Start it", fault)


def test_a_server_that_is_not_there_is_told_with_its_tasks() -> None:
    world = OpenEnv(OpenEnvConfig(f"http://127.0.0.1:{free_ports(1)[0]}"))
    try:
        with pytest.raises(ContrailError, match="no server answers"):
            world.tasks("train")
    finally:
        world.close()


def test_which_field_lists_actions(server: Servers) -> None:  # noqa: F811
    world = OpenEnv(OpenEnvConfig(server.url, actions="prompt"))
    numbers = OpenEnv(OpenEnvConfig(server.url, actions="numbers"))
    try:
        with pytest.raises(
            ConfigError, match=r"'prompt' is not a list of actions.*Which number.*in `a"
        ):
            world.reset(TASK)
        assert numbers.reset(TASK) == Observation("Which number? (seed 0)", list("12345"))
    finally:
        world.close()
        numbers.close()
