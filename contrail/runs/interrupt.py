"""Ctrl-C and SIGTERM: a run ends where nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAITING = b"\nending where nothing is lost (an update is finished first); again: end at once\n"
_own_process = False


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end. `exit_code` is that of a process which it ended."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Interruption:
    """Raises `Interrupted` when a signal arrives; once `deferred`, when `check` is called next.

    A run calls `check` where it can end without a loss. A second signal interrupts at once.
    """

    def __init__(self) -> None:
        self.deferred = False
        self._number: int | None = None

    def check(self) -> None:
        """Raise `Interrupted` if there has been a signal."""
        if self._number is not None:
            raise Interrupted(self._number)

    @contextlib.contextmanager
    def handling(self) -> Iterator[Interruption]:
        """Context manager: handle the signals, then restore their handlers.

        Only a process's main thread can handle signals; in another thread nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        with _handled(self._handle):
            yield self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._number is not None or not self.deferred:
            raise Interrupted(number)
        self._number = number
        if _own_process:  # by `write`, since the signal may have come in the middle of a `print`
            with contextlib.suppress(BrokenPipeError):
                os.write(sys.stderr.fileno(), WAITING)


def own_process() -> None:
    """Declare that this process is the command line's, which a signal may end."""
    global _own_process
    _own_process = True


@contextlib.contextmanager
def ending_at_once(message: str) -> Iterator[None]:
    """Context manager: a signal ends the process, which prints `message` first.

    For the time in which libraries are imported and nothing is written: an exception in the middle
    of an import would be swallowed, or followed by others. It does nothing in a process that is not
    contrail's own (see `own_process`), such as a notebook's.
    """
    if not _own_process or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(sys.stderr.fileno(), f"\n{message}\n".encode())
        os._exit(128 + number)

    with _handled(end):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Context manager: handle the signals, but for those that this process was told to ignore.

    A shell starts background processes so, for Ctrl-C is not meant for them.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, own in before.items():
            if own not in (signal.SIG_IGN, None):  # None: another language's, not to be restored
                signal.signal(number, handler)
        yield
    finally:
        for number, own in before.items():
            if own not in (signal.SIG_IGN, None):
                signal.signal(number, own)
