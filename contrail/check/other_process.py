"""The environment under check in a worker process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from contrail.check.subject import Failed, Moment, Skipped, Subject
from contrail.environment import SPLITS, Task
from contrail.errors import ContrailError, EnvironmentFault
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.remote import Remote

ADVICE = "Take all randomness from random.Random(task.seed), and sort what comes out of sets."
TIMEOUT = 300.0
"""The number of seconds that a call may take; checks of slow environments take a minute."""


def importable(cls: type) -> bool:
    """Return whether another process can import the class."""
    return "<locals>" not in cls.__qualname__ and cls.__module__ != "__main__"


class RemoteSubject:
    """An environment under check, with the functions that examine it run in a worker process."""

    def __init__(
        self, factory: EnvironmentFactory, count: int, timeout: float, hash_seed: str | None = None
    ) -> None:
        self._remote = Remote(
            _SubjectFactory(
                factory.name,
                factory.registered,
                factory.settings,
                step_timeout=timeout,
                shift=factory.shift,
                count=count,
            ),
            None if hash_seed is None else {"PYTHONHASHSEED": hash_seed},
        )

    def call(self, function: Callable[[Subject, Any], Any], argument: Any) -> Any:
        """Return `function(subject, argument)`, computed in the worker process.

        Raises:
            ContrailError: the environment cannot be made.
            EnvironmentFault: the function raised, the process died, or took too long.
        """
        self._remote.send("step", (function, argument))
        return self._remote.receive()

    def close(self) -> None:
        """End the process and all that the environment has started."""
        self._remote.close()


@dataclass(frozen=True)
class _SubjectFactory(EnvironmentFactory):
    count: int = 3

    def here(self) -> Any:
        plain = EnvironmentFactory(self.name, self.registered, self.settings, shift=self.shift)
        return _Caller(Subject(plain, self.count))


class _Caller:
    """Takes the place of an environment in the worker process; `step` calls a function."""

    system_prompt = ""
    max_turns = 0
    notes = ()

    def __init__(self, subject: Subject) -> None:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout holds the report alone
        _ = subject.used  # missing packages and wrong settings are reported before any check
        self._subject = subject

    def step(self, call: tuple[Callable[[Subject, Any], Any], Any]) -> Any:
        function, argument = call
        return function(self._subject, argument)

    def close(self) -> None:
        self._subject.close()


Played = tuple[dict[str, list[Task]], list[list[Moment]]]
"""All tasks, by split, and walks through some."""


def played(subject: Subject, tasks: Sequence[Task]) -> Played:
    """List all tasks, and walk through these, on the shared instance."""
    listed: dict[str, list[Task]] = {split: subject.used.tasks(split) for split in SPLITS}
    return listed, [list(subject.walk(subject.used, task)) for task in tasks]


def walks_elsewhere(subject: Subject, tasks: Sequence[Task]) -> list[list[Moment]]:
    """Walk through tasks in a fresh process with another hash seed, where all are listed alike.

    Raises:
        Failed: the environment raised there, the process died, or took too long; or it lists
            other tasks there.
        Skipped: the class cannot be imported from another process.
    """
    cls = subject.make.registered.value
    if not importable(cls):
        raise Skipped(f"{cls.__name__} cannot be imported elsewhere: define it in a module.")
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    elsewhere = RemoteSubject(subject.make, subject.count, TIMEOUT, hash_seed)
    try:
        found: Played = elsewhere.call(played, tasks)
    except (ContrailError, EnvironmentFault) as error:
        raise Failed(
            f"in another process: {error}. Do not rely on what this process has set up."
        ) from error
    finally:
        elsewhere.close()
    listed, moments = found
    for split, known in subject.listed.items():
        if listed[split] != known:
            raise Failed(f"tasks({split!r}) differs in another process. {ADVICE}")
    return moments
