"""Tells the user which environment a run is waiting for, while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from contrail.names import visible

AFTER = 15.0
"""Seconds after which a wait is told; again after twice as long, four times as long, ….."""
LONGEST = 60  # letters of an action that are shown


@dataclass(frozen=True)
class Wait:
    """A call of an environment that took long."""

    environment: str
    """The name of its column in R."""
    task: str
    call: str
    """What was called: "reset", or "step" with the action."""
    seconds: float
    """Of the wait; so far, if it has not ended."""
    limit: float | None = None
    """Seconds after which it is ended (step_timeout); None for never."""

    def __str__(self) -> str:
        end = "" if self.limit is None else f"; it is ended after {self.limit:g} s (step_timeout)"
        return (
            f"waiting for the environment {visible(self.environment)} for {self.seconds:.0f} s: "
            f"{visible(self.call)} in task {visible(self.task)}{end}"
        )


OnWait = Callable[[Wait, bool], None]
"""Called while a call takes long, and when it has ended; then the second argument is true."""


def telling(
    waiting: Callable[[str], None],
    say: Callable[[str], None],
    ended: Callable[[Wait], None] = lambda wait: None,
) -> OnWait:
    """Return what tells the user of waits.

    Args:
        waiting: shows a line while a call takes long.
        say: shows a line when it has ended.
        ended: called then.
    """

    def tell(wait: Wait, over: bool) -> None:
        if not over:
            waiting(str(wait))
            return
        say(f"{visible(wait.environment)} answered after {wait.seconds:.0f} s")
        ended(wait)

    return tell


def described(member: str, arguments: Sequence[object]) -> str:
    """Return a call of an environment as it is shown: "reset", or "step" with the action."""
    return f"step({arguments[0]!r})" if member == "step" else member


class Watchdog:
    """Watches the calls of environments, one at a time, from a thread of its own.

    Args:
        tell: called from that thread while a call takes long, and from the caller's when it has
            ended; then the second argument is true.
    """

    def __init__(self, tell: OnWait) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._wait: tuple[str, str, str, float | None] | None = None
        self._since = 0.0
        self._next = AFTER
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def watching(
        self, environment: str, task: str, call: str, limit: float | None = None
    ) -> Iterator[None]:
        """Context manager: a call of an environment."""
        with self._lock:
            self._wait = environment, task, call, limit
            self._since, self._next = time.monotonic(), AFTER
        try:
            yield
        finally:
            with self._lock:
                ended = self._present() if self._next > AFTER else None
                self._wait = None
            if ended is not None:
                self._tell(ended, True)

    def _present(self) -> Wait | None:
        if self._wait is None:
            return None
        environment, task, call, limit = self._wait
        return Wait(environment, task, call[:LONGEST], time.monotonic() - self._since, limit)

    def _watch(self) -> None:
        while not self._stop.wait(min(1.0, AFTER / 4)):
            with self._lock:
                wait = self._present()
                if wait is None or wait.seconds < self._next:
                    continue
                self._next *= 2
            self._tell(wait, False)
