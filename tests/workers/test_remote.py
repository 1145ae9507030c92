"""An environment in a worker process: a real one, which is really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pids import gone
from slow import Settings, Slow, maker

from contrail.errors import ConfigError, EnvironmentFault, PluginError
from contrail.registry.registered import Registered
from contrail.workers import remote as remote_module
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.remote import Remote

Make = Callable[..., Any]
HERE = Path(__file__).parents[1] / "support"


@pytest.fixture
def remote() -> Iterator[Callable[..., Remote]]:
    """Makes instances in worker processes, and ends them."""
    made: list[Remote] = []

    def make(**settings: Any) -> Remote:
        environment = Remote(maker(**settings))
        made.append(environment)
        return environment

    yield make
    for environment in made:
        environment.kill()


def process(environment: Remote) -> int:
    assert environment._child is not None
    return environment._child.pid


# one instance


def test_an_instance_elsewhere_is_like_one_here(remote: Callable[..., Remote]) -> None:
    here, there = Slow(), remote()
    assert there.tasks("test") == here.tasks("test")
    task = here.tasks("test")[2]
    assert there.expert(task) == here.expert(task)
    assert there.reset(task) == here.reset(task)
    for action in ("go", "walk", "nonsense \x00 ü"):
        assert there.step(action) == here.step(action)
    assert (there.system_prompt, there.max_turns) == (Slow.system_prompt, Slow.max_turns)
    assert there.config == Settings()


def test_a_worker_process_is_light(remote: Callable[..., Remote]) -> None:
    there = remote()
    there.tasks("test")
    maps = Path(f"/proc/{process(there)}/maps").read_text()
    assert "python" in maps
    assert not any(name in maps for name in ("torch", "numpy", "avalanche"))


def test_what_is_raised_there_reads_as_if_it_were_raised_here(
    remote: Callable[..., Remote],
) -> None:
    there = remote(fail="raise in reset")
    task = there.tasks("train")[1]
    with pytest.raises(EnvironmentFault, match=r"^ValueError: it broke; .*slow\.py line \d+$"):
        there.reset(task)
    before = process(there)
    there.reset(there.tasks("train")[0])  # it goes on
    assert process(there) == before


@pytest.mark.parametrize("how", ["exit in step", "kill"])
def test_a_process_that_dies_is_replaced(how: str, remote: Callable[..., Remote]) -> None:
    there = remote(fail=how, delay=0.2)
    task = there.tasks("train")[1]
    there.reset(task)
    before = process(there)
    there.step("go")
    there.send("step", "go")
    if how == "kill":
        os.kill(before, signal.SIGKILL)
    code = "killed by SIGKILL" if how == "kill" else "exit code 3"
    with pytest.raises(EnvironmentFault, match=f"^its worker process died, {code}$"):
        there.receive()
    assert there.reset(task).text == "You are at 1."
    assert process(there) != before


def test_a_process_that_dies_between_two_episodes_is_replaced_in_silence(
    remote: Callable[..., Remote],
) -> None:
    there = remote()
    task = there.tasks("train")[1]
    before = process(there)
    os.kill(before, signal.SIGKILL)
    # Its threads may end a moment after it is no longer there.
    assert there._child is not None
    assert there._child.wait(20) == -signal.SIGKILL
    assert there.reset(task).text == "You are at 1."


def test_a_process_that_dies_between_two_steps_is_a_fault(remote: Callable[..., Remote]) -> None:
    """Another process would play on in a game that nobody has begun."""
    there = remote()
    task = there.tasks("train")[1]
    there.reset(task)
    there.step("go")
    os.kill(process(there), signal.SIGKILL)
    assert there._child is not None
    assert there._child.wait(20) == -signal.SIGKILL
    with pytest.raises(EnvironmentFault, match=r"^its worker process died, killed by SIGKILL$"):
        there.step("go")
    assert there.reset(task).text == "You are at 1."


def test_a_step_that_hangs_is_ended_with_all_it_has_started(
    remote: Callable[..., Remote], tmp_path: Path
) -> None:
    there = remote(fail="hang in reset", timeout=5.0, log=str(tmp_path))
    task = there.tasks("train")[1]
    before = process(there)
    with pytest.raises(EnvironmentFault, match=r"^no answer within 5 s \(step_timeout\)$"):
        there.reset(task)
    (child,) = tmp_path.glob("child-*")
    assert gone(before)
    assert gone(int(child.name.removeprefix("child-")))
    assert there.reset(there.tasks("train")[0]).text == "You are at 0."


def test_the_start_of_a_process_is_no_part_of_its_first_reset(
    remote: Callable[..., Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = remote(fail="slow at start", timeout=3.0)
    task = Slow().tasks("train")[2]
    assert there.reset(task).text == "You are at 2."
    monkeypatch.setattr(remote_module, "START", 1.0)
    there.kill()
    with pytest.raises(EnvironmentFault, match=r"^it was not made within 3 s$"):
        there.reset(task)
    # The time of the first call begins when the instance is there.
    monkeypatch.setattr(remote_module, "START", 60.0)
    there = remote(delay=60.0, timeout=1.0)
    with pytest.raises(EnvironmentFault, match=r"^no answer within 1 s \(step_timeout\)$"):
        there.reset(task)


def test_an_episode_that_was_abandoned_amid_a_step(remote: Callable[..., Remote]) -> None:
    there = remote(delay=0.1)
    tasks = there.tasks("train")
    there.reset(tasks[0])
    there.send("step", "go")
    assert there.reset(tasks[2]).text == "You are at 2."


def test_errors_for_humans_arrive_as_such(remote: Callable[..., Remote]) -> None:
    with pytest.raises(ConfigError, match=r"^`fail` must not be unmade$"):
        remote(fail="unmade").tasks("train")
    message = r"^environment 'slow' \(plugin 'slow'\) needs a package.*'jvm'.*contrail\[slow\]"
    with pytest.raises(PluginError, match=message):
        remote(fail="missing").tasks("train")
    with pytest.raises(EnvironmentFault, match=r"^its worker process died, exit code 7$"):
        remote(fail="killed at start").tasks("train")


def test_a_class_that_another_process_cannot_find() -> None:
    class Local(Slow):
        pass

    make = EnvironmentFactory("local", Registered(Local, "plugin"), Settings(), None, 1)
    message = r"'local' \(plugin 'plugin'\) cannot be made in a worker process.*workers: 0"
    with pytest.raises(PluginError, match=message):
        Remote(make).tasks("train")


def test_an_answer_that_cannot_be_sent(remote: Callable[..., Remote]) -> None:
    there = remote(fail="generator in reset")
    with pytest.raises(EnvironmentFault, match=r"^TypeError: cannot pickle 'generator' object"):
        there.reset(there.tasks("train")[1])


PARENT = """
import signal
import sys
import time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.path.insert(0, {tests!r})
from slow import maker
from contrail.workers.remote import Remote

there = Remote(maker({settings}))
there.tasks("train")
print(there._child.pid, flush=True)
there.send("reset", there.tasks("train")[1])
{end}
"""


@pytest.mark.parametrize(
    ("end", "fail"),
    [
        ("", ""),
        ("raise ValueError", ""),
        ("SIGTERM", ""),
        ("SIGINT", ""),
        ("SIGKILL", ""),
        ("", "hang in reset"),
        ("SIGKILL", "hang in reset"),
    ],
)
def test_the_end_of_the_main_process_ends_the_others(end: str, fail: str, tmp_path: Path) -> None:
    settings = f"log={str(tmp_path)!r}, fail={fail!r}"
    code = "time.sleep(600)" if end.startswith("SIG") else f"input()\n{end}"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(tests=str(HERE), settings=settings, end=code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    while fail and not list(tmp_path.glob("child-*")):
        time.sleep(0.02)
    if end.startswith("SIG"):
        # As the terminal does it: to all processes of the group.
        os.killpg(parent.pid, signal.Signals[end])
    _, errors = parent.communicate("\n", timeout=60)
    assert gone(worker)
    for child in tmp_path.glob("child-*"):
        assert gone(int(child.name.removeprefix("child-")))
    assert len(list(tmp_path.glob("closed-*"))) == (not fail)
    assert errors.count("Traceback") == (end in ("raise ValueError", "SIGINT"))
