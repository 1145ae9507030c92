"""The processes of a comparison's runs, forked from one that has imported what runs need.

Importing torch and the libraries takes seconds; with a fork server a comparison pays for them once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Protocol

from contrail.errors import ContrailError


class WorkerProcess(Protocol):
    """A process that works on one run, or tries some configurations."""

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, for at most `timeout` seconds; return the value of `poll` then."""

    def interrupt(self) -> None:
        """Interrupt it as from the keyboard; it ends once it is able to."""

    def kill(self) -> None:
        """End it at once."""


class ForkedWorker:
    """A process that the server has forked.

    Args:
        lifeline: the end of a pipe. The process ends when it is closed, even because this process
            was killed.
        status: the end of a pipe from the server, which writes the process's exit code.
    """

    def __init__(self, lifeline: int, status: IO[bytes]) -> None:
        self._lifeline: int | None = lifeline
        self._status = status
        self._code: int | None = None
        self.pid = int(self._read())

    def _read(self) -> bytes:
        line = self._status.readline()
        if not line:
            raise ContrailError(
                "the process that runs are forked from has ended. What it said stands above; "
                "start the comparison again, it goes on."
            )
        return line

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end, for at most `timeout` seconds; return the value of `poll` then."""
        if self._code is None and select.select([self._status], [], [], timeout)[0]:
            self._code = int(self._read())
            self._status.close()
            self.interrupt()
        return self._code

    def interrupt(self) -> None:
        """Interrupt it as from the keyboard; it ends once it is able to."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def kill(self) -> None:
        """End it at once."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Workers:
    """Starts processes. The server is started with the first, and ended with this context."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()  # which ends it
        if self._server is not None:
            self._server.wait()

    def start(self, arguments: Sequence[str], output: IO[bytes]) -> WorkerProcess:
        """Start `python -m contrail.comparison.worker ARGUMENTS`, which prints to `output`.

        Raises:
            ContrailError: the server has failed.
        """
        server = self._connect()
        lifeline, kept = os.pipe()
        status, told = os.pipe()
        try:
            message = json.dumps(list(arguments)).encode() + b"\n"
            with contextlib.suppress(BrokenPipeError):  # the status tells it
                socket.send_fds(server, [message], [lifeline, output.fileno(), told])
        finally:
            os.close(lifeline)
            os.close(told)
        return ForkedWorker(kept, open(status, "rb", buffering=0))

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket, other = socket.socketpair()
            with other:
                command = [sys.executable, "-m", "contrail.comparison.worker", "serve"]
                self._server = subprocess.Popen(
                    [*command, str(other.fileno())],
                    pass_fds=[other.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C reaches it through us alone
                )
        return self._socket


def end(processes: Sequence[WorkerProcess], grace: float) -> None:
    """Interrupt all of them, and kill those that are still running after `grace` seconds."""
    for process in processes:
        process.interrupt()
    deadline = time.monotonic() + grace
    for process in processes:
        if process.wait(max(0.1, deadline - time.monotonic())) is None:
            process.kill()
            process.wait()
