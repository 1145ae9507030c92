"""The fork server and its processes, with plugins that do things when they are imported."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from contrail.comparison.processes import WorkerProcess, Workers, end

STREAM = """
model: tiny-random
plugins: [{plugin}]
stream: [{{environment: babyai, updates: 1}}]
"""


@pytest.fixture
def start(workers: Workers, tmp_path: Path) -> Any:
    """Starts a process that imports a plugin, and stops there."""

    def start(code: str, name: str = "plugin") -> WorkerProcess:
        plugin, stream = tmp_path / f"{name}.py", tmp_path / f"{name}.yaml"
        plugin.write_text(f"import os, sys, time\n{code}\n")
        stream.write_text(STREAM.format(plugin=plugin.name))
        with (tmp_path / "log").open("ab") as log:
            return workers.start(["try", str(stream)], log)

    return start


def ready(directory: Path) -> None:
    deadline = time.monotonic() + 60
    while not (directory / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


WAIT = "open(os.path.join(os.path.dirname(__file__), 'ready'), 'w').close(); time.sleep(600)"


def test_a_process_is_its_own_and_has_the_libraries(start: Any, tmp_path: Path) -> None:
    told = (
        "print(os.getpid(), os.getsid(0), os.path.realpath('/proc/self/fd/1'))\n"
        "print('trl.trainer.grpo_trainer' in sys.modules, file=sys.stderr)\n"
        "sys.exit('that is all')"
    )
    process = start(told)
    assert process.wait() == 2  # a plugin that fails is the user's to mend
    said = (tmp_path / "log").read_text()
    assert f"{process.pid} {process.pid} {tmp_path / 'log'}\n" in said
    assert "True\n" in said
    assert "error: " in said
    assert "that is all" in said


def test_processes_side_by_side_have_their_own_exit_codes(start: Any, tmp_path: Path) -> None:
    first = start("os._exit(3)", "first")
    second = start("os.kill(os.getpid(), 15)", "second")
    assert (second.wait(), first.wait()) == (-15, 3)
    assert (second.poll(), first.poll()) == (-15, 3)


def test_interrupted(start: Any, tmp_path: Path) -> None:
    process = start(WAIT)
    ready(tmp_path)
    assert process.poll() is None
    assert process.wait(0.01) is None
    process.interrupt()
    assert process.wait() == 130
    assert "interrupted" in (tmp_path / "log").read_text()


def test_one_that_cannot_be_interrupted_is_killed(start: Any, tmp_path: Path) -> None:
    process = start(f"import signal; signal.pthread_sigmask(0, [2]); {WAIT}")
    ready(tmp_path)
    end([process], grace=0.2)
    assert process.poll() == -9
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
