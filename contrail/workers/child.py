"""A child process that never outlives its parent.

Parent and child are joined by a connection, which the child receives as its standard input. When
the parent hangs up or ends, even by SIGKILL, the child reads the end of the connection and ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO


class Child:
    """A Python module run in a process of its own; the module must call `listen`.

    The process leads a session of its own, so that Ctrl-C on the terminal reaches only the parent,
    and is ended together with all processes that it has started. The class does not use the module
    multiprocessing to start it, because that would import the user's main script again.

    Args:
        module: the module's name.
        arguments: its command line.
        environ: environment variables that differ from those of this process.
        stdout: where standard output goes; None for this process's.
        stderr: where standard error goes; None for this process's.

    Raises:
        OSError: no process can be started.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> None:
        self.connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **(environ or {})},
                stdin=theirs.fileno(),
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid

    def code(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.poll()

    def hang_up(self) -> None:
        """Tell the process to end, without waiting for it."""
        self.connection.close()

    def wait(self, seconds: float) -> int | None:
        """Wait for the process to end; return its exit code, or None if it is still running."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def kill(self) -> int:
        """End the process and all that it has started at once; return its exit code."""
        self.hang_up()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left of it
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()


def listen(receive: Callable[[bytes | None], None], grace: float) -> Connection:
    """In the child: take the connection to the parent and receive messages from it in a thread.

    Standard input is empty afterwards. Once the parent has hung up, the end of this process is also
    that of all processes that it has started; before, the parent sees to that (`Child.kill`).

    Args:
        receive: called with each message, and with None when the parent hangs up or ends.
        grace: the number of seconds that the process then has to end by itself.

    Returns:
        The connection, for sending.
    """
    connection = Connection(os.dup(0))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    alone = threading.Event()
    # Registered first, so called last. The exit code is lost, for which nobody waits any more.
    atexit.register(lambda: _end_group() if alone.is_set() else None)

    def follow() -> None:
        try:
            while True:
                receive(connection.recv_bytes())
        except (EOFError, ConnectionError):
            alone.set()
            receive(None)
        time.sleep(grace)
        _end_group()

    threading.Thread(target=follow, daemon=True).start()
    return connection


def _end_group() -> None:
    """End this process and all that it has started."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(os.getpid(), signal.SIGKILL)
