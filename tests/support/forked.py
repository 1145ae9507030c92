"""Processes forked from this one: all that they import is there already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from contrail.comparison import worker
from contrail.comparison.processes import Workers

CONTEXT: Any = multiprocessing.get_context("fork")


class Forked:
    """A process that runs `contrail` with these arguments.

    Args:
        arguments: of the command line.
        environment: further environment variables.
        log: its output goes to this file with the suffix `.out`, its errors to `.err`.
    """

    def __init__(
        self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        from contrail.compat.loading import load_libraries

        load_libraries(quiet=True)
        import contrail.runs.launch

        del contrail
        self._log = log
        self.process = CONTEXT.Process(target=_main, args=(arguments, log, environment or {}))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        code: int | None = self.process.exitcode
        return code

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()

    def wait(self, seconds: float) -> tuple[str, str]:
        """What it has printed and complained about, once it has ended."""
        self.process.join(seconds)
        return self.said(".out"), self.said(".err")

    def said(self, suffix: str) -> str:
        """What it has written so far."""
        return self._log.with_suffix(suffix).read_text()


def _main(arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    sys.stdout, sys.stderr = (log.with_suffix(end).open("w", 1) for end in (".out", ".err"))
    for number, file in ((1, sys.stdout), (2, sys.stderr)):
        os.dup2(file.fileno(), number)
    # As in a process that Python has started; in the background of a shell it would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["contrail", *arguments]
    from contrail.cli import main

    main()


class ForkedWorkers(Workers):
    """The fork server of comparisons, forked instead of started."""

    def __init__(self) -> None:
        super().__init__()
        self._process: Any = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self._process is not None:
            self._process.join()

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket, other = socket.socketpair()
            with other:
                self._process = CONTEXT.Process(target=_serve, args=(self._socket, other))
                self._process.start()
        return self._socket


def _serve(ours: socket.socket, other: socket.socket) -> None:
    ours.close()  # of the process that this one is forked from, whose end ends the server
    os.setsid()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", 1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = ["worker", "serve", str(other.detach())]
    worker.main()
