"""Walks through tasks in a process of its own, with another hash seed."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from contrail.check.subject import Failed, Moment, Skipped, Subject
from contrail.environment import Task
from contrail.registry import FILE_PREFIX, load_file

TIMEOUT = 300  # seconds


def walks_elsewhere(subject: Subject, tasks: list[Task]) -> list[list[Moment]]:
    """The walks through these tasks in a fresh process.

    Raises:
        Failed: the process failed, with the end of what it printed, or takes too long.
        Skipped: the class cannot be found from another process.
    """
    cls = subject.make.registered.value
    if not importable(cls):
        raise Skipped(f"{cls.__name__} cannot be imported elsewhere: define it in a module.")
    module = cls.__module__
    file = sys.modules[module].__file__ if module.startswith(FILE_PREFIX) else None
    with tempfile.TemporaryDirectory(prefix="contrail-check-") as folder:
        order, result = Path(folder, "order"), Path(folder, "result")
        plain = Subject(subject.make, subject.count)
        order.write_bytes(pickle.dumps((file, pickle.dumps((plain, tasks)))))
        seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        paths = os.pathsep.join(path for path in sys.path if path)
        # Not a pipe, whose end would be that of the last process which the environment has started.
        printed = Path(folder, "printed")
        with printed.open("wb") as file_of_errors:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(order), str(result)],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file_of_errors,
                start_new_session=True,
            )
        try:
            code = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failed(f"in another process it has not ended after {TIMEOUT} s.") from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has left behind
            process.wait()
        if code != 0:
            lines = printed.read_text(errors="replace").strip().splitlines()
            raise Failed(
                f"in another process it ends with code {code}: {(lines or ['no message'])[-1]}. "
                "Do not rely on what this process has set up."
            )
        walks: list[list[Moment]] = pickle.loads(result.read_bytes())
    return walks


def importable(cls: type) -> bool:
    """Whether another process can find the class."""
    return "<locals>" not in cls.__qualname__ and cls.__module__ != "__main__"


def _main(order: Path, result: Path) -> None:
    file, payload = pickle.loads(order.read_bytes())
    if file is not None:
        load_file(Path(file))  # under the name by which the payload refers to it
    subject, tasks = pickle.loads(payload)
    with subject.instance() as environment:
        walks = [list(subject.walk(environment, task)) for task in tasks]
    result.write_bytes(pickle.dumps(walks))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
