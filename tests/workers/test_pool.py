"""Pools of environments, in this process and in worker processes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pids import alive
from rooms import Rooms
from scenarios import built
from slow import Slow, maker

import contrail
from contrail.config import load
from contrail.engine import sampler as sampler_module
from contrail.engine.engine import Engine
from contrail.errors import ConfigError, PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.registry.plugins import load_plugins
from contrail.rollout.play import Job, play
from contrail.seeding import generator
from contrail.workers.pool import EnvironmentPool
from contrail.workers.remote import Remote

Make = Callable[..., Any]
HERE = Path(__file__).parents[1] / "support"


class Words(React):
    """Free text; whatever the model writes is an action."""

    def parse(self, text: str, observation: contrail.Observation) -> str:
        return text


@pytest.fixture
def pools() -> Iterator[Callable[..., EnvironmentPool]]:
    """Makes pools, and closes them."""
    made: list[EnvironmentPool] = []

    def make(*args: Any, **settings: Any) -> EnvironmentPool:
        made.append(EnvironmentPool({"slow": maker(*args, **settings)}))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def process(environment: Remote) -> int:
    assert environment._child is not None
    return environment._child.pid


def jobs(count: int, adapter: contrail.Adapter | None = None, first: int = 0) -> list[Job]:
    return [
        Job("slow", task, adapter or Choose(), generator(0, "rollout", task.id))
        for task in Slow().tasks("train")[first : first + count]
    ]


def most_at_once(directory: Path) -> int:
    """How many calls were under way at the same time, at most."""
    changes = []
    for file in directory.glob("times-*"):
        times = [float(line) for line in file.read_text().splitlines()]
        changes += [(when, 1) for when in times[::2]] + [(when, -1) for when in times[1::2]]
    count = most = 0
    for _, change in sorted(changes):
        count += change
        most = max(most, count)
    return most


def test_close_lets_the_instances_close(
    pools: Callable[..., EnvironmentPool], tmp_path: Path
) -> None:
    pool = pools(3, log=str(tmp_path))
    made = [pool.take("slow") for _ in range(3)]
    for environment in made[:2]:
        environment.tasks("train")
    processes = [process(item) for item in made[:2] if isinstance(item, Remote)]
    pool.close()
    assert not any(alive(pid) for pid in processes)
    assert len(list(tmp_path.glob("closed-*"))) == 2
    pool.close()


# many episodes


@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))])
def test_episodes_do_not_depend_on_how_fast_anything_is(
    adapter: contrail.Adapter, make_tiny: Make, pools: Callable[..., EnvironmentPool]
) -> None:
    policy = make_tiny()
    first, *others = [
        play(policy, pool, jobs(12, adapter), concurrency=9)
        for pool in (pools(5), pools(5, delay=0.04, random=True), pools(5, delay=0.08, random=True))
    ]
    assert first == others[0] == others[1]
    # Rows of other forwards may differ in their last bits, but the episodes are the same.
    here = play(policy, EnvironmentPool({"slow": Slow}), jobs(12, adapter))
    assert [item.token_ids for item in first] == [item.token_ids for item in here]
    assert [item.ended for item in first] == [item.ended for item in here]


def test_32_episodes_step_side_by_side(
    make_tiny: Make, pools: Callable[..., EnvironmentPool], tmp_path: Path
) -> None:
    episodes = play(make_tiny(), pools(32, delay=0.2, log=str(tmp_path)), jobs(32))
    assert all(episode.ended in ("terminated", "max_turns") for episode in episodes)
    assert len(list(tmp_path.glob("times-*"))) == 32  # a process each
    assert 16 <= most_at_once(tmp_path) <= 32


def test_no_more_processes_than_allowed(
    make_tiny: Make, pools: Callable[..., EnvironmentPool], tmp_path: Path
) -> None:
    pool = pools(3, delay=0.02, log=str(tmp_path))
    policy = make_tiny()
    for _ in range(2):
        assert len(play(policy, pool, jobs(8))) == 8
    assert len(list(tmp_path.glob("times-*"))) == 3
    assert most_at_once(tmp_path) <= 3


def test_the_model_works_while_environments_do(
    make_tiny: Make, pools: Callable[..., EnvironmentPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []

    class Watched(Engine):
        def run(self, requests: Any) -> Any:
            waiting.append(sum(bool(item._unanswered) for item in made if isinstance(item, Remote)))
            return super().run(requests)

    monkeypatch.setattr(sampler_module, "Engine", Watched)
    pool = pools(8, delay=0.1)
    made = pool._all["slow"]
    play(make_tiny(), pool, jobs(8))
    # Half of the episodes are with the model, and the other half with their environments.
    assert waiting[:4] == [4, 4, 4, 4]


def test_fast_environments_do_not_wait_for_slow_ones(make_tiny: Make) -> None:
    ended: list[str] = []
    pool = EnvironmentPool({"slow": maker(2, delay=0.3), "rooms": Rooms})
    rooms = [
        Job("rooms", task, Choose(), generator(0, task.id)) for task in Rooms().tasks("train")[:6]
    ]
    try:
        mixed = [*jobs(6), *rooms]
        episodes = play(
            make_tiny(), pool, mixed, progress=lambda item: ended.append(item.environment)
        )
    finally:
        pool.close()
    assert ended == ["rooms"] * 6 + ["slow"] * 6
    assert [item.environment for item in episodes] == ["slow"] * 6 + ["rooms"] * 6


@pytest.mark.parametrize(
    ("fail", "fault"),
    [
        ("raise in reset", r"reset: ValueError: it broke; .*slow\.py line \d+"),
        ("raise in step", r"step\('.*'\): ValueError: it broke; .*slow\.py line \d+"),
        ("cancel in step", r"step\('.*'\): CancelledError: by peer; .*slow\.py line \d+"),
        ("exit in reset", r"reset: its worker process died, exit code 3"),
        ("exit in step", r"step\('.*'\): its worker process died, exit code 3"),
        ("hang in step", r"step\('.*'\): no answer within 5 s \(step_timeout\)"),
    ],
)
def test_a_fault_leaves_the_others_alone(
    fail: str,
    fault: str,
    make_tiny: Make,
    pools: Callable[..., EnvironmentPool],
    tmp_path: Path,
) -> None:
    policy = make_tiny()
    sound = play(policy, EnvironmentPool({"slow": Slow}), jobs(6))
    assert len(sound[1].turns) > 1
    episodes = play(policy, pools(2, 5.0, fail=fail, log=str(tmp_path)), jobs(6))
    assert re.fullmatch(fault, episodes[1].fault or "")
    assert episodes[1].ended == "fault"
    others = [0, 2, 3, 4, 5]
    assert [episodes[i].token_ids for i in others] == [sound[i].token_ids for i in others]
    assert not any(episodes[i].fault for i in others)


def test_the_pool_can_be_used_after_an_interruption(
    make_tiny: Make, pools: Callable[..., EnvironmentPool]
) -> None:
    policy, pool = make_tiny(), pools(4, delay=0.05)

    def interrupt(episode: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(policy, pool, jobs(8), progress=interrupt)
    assert len(play(policy, pool, jobs(8))) == 8


# from a stream file


def stream(directory: Path, environment: str, plugin: str = "") -> Path:
    (directory / "world.py").write_text(plugin or (HERE / "slow.py").read_text())
    (directory / "stream.yaml").write_text(
        f"plugins: [world.py]\nstream: [{{environment: {environment}}}]\n"
    )
    return directory / "stream.yaml"


def test_a_plugin_file_is_imported_in_the_worker_process(tmp_path: Path) -> None:
    path = stream(tmp_path, "{name: slow, workers: 2, max_turns: 3, fail: none}")
    with built(path) as scenario:
        first = scenario.pool.take("slow")
        assert isinstance(first, Remote)
        first.tasks("test")
        assert first.max_turns == 3
        assert first.config.fail == "none"
        scenario.pool.take("slow")
        assert not scenario.pool.free("slow")


def test_the_class_says_where_it_runs(tmp_path: Path) -> None:
    plugin = (HERE / "slow.py").read_text().replace("max_turns = 4", "workers = 1")
    with built(stream(tmp_path, "slow", plugin)) as scenario:
        assert isinstance(scenario.pool.take("slow"), Remote)
    with built(stream(tmp_path, "{name: slow, workers: 0}")) as scenario:
        assert not isinstance(scenario.pool.take("slow"), Remote)


@pytest.mark.parametrize("fail", ["missing", "unmade", "killed at start"])
def test_an_environment_that_cannot_be_made_leaves_no_process(
    fail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    messages = []
    for workers in (0, 1):
        if fail == "killed at start" and not workers:
            continue
        settings = f"{{name: slow, workers: {workers}, fail: {fail}}}"
        path = stream(tmp_path, settings)
        with pytest.raises((PluginError, ConfigError)) as caught, built(path):
            pass
        messages.append(str(caught.value))
    assert len(set(messages)) == 1  # wherever it runs
    assert len(started) == 1
    assert not alive(started[0].pid)


@pytest.mark.parametrize(
    ("member", "value", "wanted"),
    [
        ("max_turns", "0", "a whole number above 0"),
        ("max_turns", "'x'", "a whole number above 0"),
        ("max_turns", "True", "a whole number above 0"),
        ("workers", "-1", "a whole number, 0 or more"),
        ("step_timeout", "float('nan')", "a number of seconds above 0"),
    ],
)
def test_members_that_make_no_sense_are_refused(
    member: str, value: str, wanted: str, tmp_path: Path
) -> None:
    plugin = (HERE / "slow.py").read_text().replace("max_turns = 4", f"{member} = {value}")
    message = rf"environment 'slow' \(plugin 'world'\): {member} is .*, not {wanted}"
    path = stream(tmp_path, "slow", plugin)
    with pytest.raises(PluginError, match=message), built(path):
        pass


@pytest.mark.parametrize("written", ["workers: -1", "workers: many", "step_timeout: 0"])
def test_keys_that_make_no_sense_are_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"stream.0.environment.{written.partition(':')[0]}"):
        load(stream(tmp_path, f"{{name: slow, {written}}}"), (), load_plugins())
