"""Walks through tasks in a process of its own, with another hash seed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from contrail.check.subject import Failed, Moment, Skipped, Subject
from contrail.environment import Task
from contrail.manager import FILE_PREFIX, load_file

TIMEOUT = 300  # seconds


def walks_elsewhere(subject: Subject, tasks: list[Task]) -> list[list[Moment]]:
    """The walks through these tasks in a fresh process.

    Raises:
        Failed: the process failed; with the end of what it printed.
        Skipped: the class cannot be found from another process.
    """
    cls = subject.make.registered.value
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise Skipped(f"{cls.__name__} cannot be imported elsewhere: define it in a module.")
    module = cls.__module__
    file = sys.modules[module].__file__ if module.startswith(FILE_PREFIX) else None
    with tempfile.TemporaryDirectory(prefix="contrail-check-") as folder:
        order, result = Path(folder, "order"), Path(folder, "result")
        plain = Subject(subject.make, subject.count)
        order.write_bytes(pickle.dumps((file, pickle.dumps((plain, tasks)))))
        seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        paths = os.pathsep.join(path for path in sys.path if path)
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(order), str(result)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Failed(
                f"in another process it ends with code {done.returncode}: {last}. Do not rely on "
                "what this process has set up."
            )
        walks: list[list[Moment]] = pickle.loads(result.read_bytes())
    return walks


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
