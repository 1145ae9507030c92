"""Environments on a server of OpenEnv."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checked import passes, seeds

from contrail import Observation, Step, Task
from contrail.envs.openenv.environment import OpenEnv, OpenEnvConfig
from contrail.errors import ConfigError, ContrailError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


class Servers:
    """Two real server processes on loopback; the one at `mortal` may be ended."""

    def __init__(self) -> None:
        ports = free_ports(2)
        self.url, self.mortal = (f"http://127.0.0.1:{port}" for port in ports)
        script = Path(__file__).parents[1] / "support/openenv_server.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script), *map(str, ports)], start_new_session=True
        )
        for _ in range(600):
            assert self.process.poll() is None
            if all(map(answers, ports)):
                return
            time.sleep(0.1)
        raise TimeoutError("the servers do not come up")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server() -> Iterator[Servers]:
    pytest.importorskip("openenv")
    running = Servers()
    yield running
    running.stop()


def test_openenv(server: Servers) -> None:
    passes(OpenEnv, OpenEnvConfig(server.url, actions="choices"), {"expert"})


def test_numbers_of_tasks_move_no_seed_of_a_server(server: Servers) -> None:
    few, many = (
        OpenEnv(OpenEnvConfig(server.url, train_tasks=train, test_tasks=test))
        for train, test in ((7, 50), (500, 7))
    )
    assert not seeds(few, "test") & seeds(many, "train")
    assert not seeds(many, "test") & seeds(few, "train")
    few.close()
    many.close()


def test_an_episode_on_a_server(server: Servers) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, actions="choices"))
    try:
        task = world.tasks("train")[0]
        assert world.reset(task) == Observation("Which number? (seed 0)", list("12345"))
        steps = [world.step(number) for number in "12345" if not world._over]
        assert [step.success for step in steps] == [False] * (len(steps) - 1) + [True]
        assert steps[-1].reward == 1
        assert world.step("1").observation.text == "The episode is over."
    finally:
        world.close()


def test_a_field_that_is_not_there(server: Servers) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, observation="promt"))
    try:
        with pytest.raises(ConfigError, match="Did you mean 'prompt'"):
            world.reset(world.tasks("train")[0])
    finally:
        world.close()


@pytest.mark.parametrize(
    ("settings", "member", "words"),
    [
        ({"action": "text"}, "step", "in the key `action`, and give the others in `constants`"),
        ({"timeout": 0.1}, "reset", "within 0.1 s. If it is slow, raise `timeout`"),
    ],
)
def test_what_the_server_refuses(
    server: Servers, settings: dict[str, Any], member: str, words: str
) -> None:
    world = OpenEnv(OpenEnvConfig(server.url, **settings))
    slow = Task("openenv", "slow", -1, "train")
    try:
        if member == "step":
            world.reset(world.tasks("train")[0])
        with pytest.raises(ContrailError) as error:
            getattr(world, member)("1" if member == "step" else slow)
        assert server.url in str(error.value)
        assert words in str(error.value)
    finally:
        world.close()


def test_a_full_server(server: Servers) -> None:
    worlds = [OpenEnv(OpenEnvConfig(server.url)) for _ in range(9)]
    task = worlds[0].tasks("train")[0]
    try:  # sessions of other tests may not have ended yet
        with pytest.raises(ContrailError, match="max_concurrent_envs"):
            _ = [world.reset(task) for world in worlds]
    finally:
        for world in worlds:
            world.close()


@pytest.mark.parametrize("url", ["", "localhost:8000"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError, match="Name a running server"):
        OpenEnv(OpenEnvConfig(url))


STREAM = """
model: tiny-random
stream:
  - {environment: {name: openenv, url: URL, actions: choices}, updates: 1}
evaluate: {tasks: 2}
grpo: {num_generations: 2, generation_batch_size: 4}
lora: {r: 2, lora_alpha: 4}
"""


def test_a_refused_connection_ends_before_training(tmp_path: Path) -> None:
    pytest.importorskip("openenv")
    from contrail.runs.launch import run_stream

    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "s.yaml").write_text(STREAM.replace("URL", url))
    with pytest.raises(ContrailError, match=r"no server answers at .* Start it"):
        run_stream(tmp_path / "s.yaml", out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_server_that_dies_is_a_counted_fault(server: Servers, make_tiny: Any) -> None:
    from contrail.plugins.adapters.choose import Choose
    from contrail.rollout.play import EnvironmentPool, Job, play
    from contrail.seeding import generator

    pool = EnvironmentPool(
        {"openenv": lambda: OpenEnv(OpenEnvConfig(server.mortal, actions="choices"))}
    )
    try:
        world = pool.take("openenv")
        task = world.tasks("train")[0]
        step, calls = world.step, []

        def dying(action: str) -> Step:
            calls.append(action)
            return step("die" if len(calls) == 2 else "0")

        world.step = dying  # type: ignore[method-assign]
        pool.give("openenv", world)
        job = Job("openenv", task, Choose(), generator(0, "test"))
        (episode,) = play(make_tiny(), pool, [job])
        assert episode.ended == "fault"
        assert f"no server answers at {server.mortal}" in str(episode.fault)
        assert len(episode.turns) == 2
        # The next episode is a fault too, not an end of the run.
        (episode,) = play(make_tiny(), pool, [job])
        assert episode.fault is not None
        assert "reset" in episode.fault
        assert f"no server answers at {server.mortal}" in episode.fault
    finally:
        pool.close()
