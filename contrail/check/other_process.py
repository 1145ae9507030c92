"""The environment under check in a worker process."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrail.check.doing import Activity, Doing
from contrail.check.subject import Failed, Moment, Skipped, Subject
from contrail.environment import SPLITS, Task
from contrail.errors import ContrailError, EnvironmentFault
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.remote import Remote

ADVICE = "Take all randomness from random.Random(task.seed), and sort what comes out of sets."
TIMEOUT = 300.0
"""The number of seconds that a check may take; those of slow environments take a minute."""
LONG = 10.0
"""The number of seconds after which a call of the environment is told of."""


def importable(cls: type) -> bool:
    """Return whether another process can import the class."""
    return "<locals>" not in cls.__qualname__ and cls.__module__ != "__main__"


class RemoteSubject:
    """An environment under check, with the functions that examine it run in a worker process.

    Args:
        factory: makes the environment.
        count: the largest number of tasks to play per split.
        timeout: seconds that a function may take.
        hash_seed: Python's, in the process.
        limit: seconds that one call of the environment may take.
        say: called with a sentence where a call takes long.
    """

    def __init__(
        self,
        factory: EnvironmentFactory,
        count: int,
        timeout: float,
        hash_seed: str | None = None,
        limit: float = math.inf,
        say: Callable[[str], object] | None = None,
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="contrail-check-")
        os.close(handle)
        self._note = Path(name)
        Doing.make(self._note)
        self._doing = Doing(self._note)
        self._limit, self._say = limit, say
        self._remote = Remote(
            _SubjectFactory(
                factory.name,
                factory.registered,
                factory.settings,
                step_timeout=timeout,
                shift=factory.shift,
                count=count,
                note=name,
            ),
            None if hash_seed is None else {"PYTHONHASHSEED": hash_seed},
        )

    @property
    def activity(self) -> Activity | None:
        """The call of the environment that is under way."""
        return self._doing.read()

    def call(self, function: Callable[[Subject, Any], Any], argument: Any) -> Any:
        """Return `function(subject, argument)`, computed in the worker process.

        Raises:
            ContrailError: the environment cannot be made.
            EnvironmentFault: the function raised, the process died, or took too long; it says in
                which call of the environment.
        """
        self._remote.send("step", (_begin, None))
        self._remote.receive()
        self._remote.send("step", (function, argument))
        told: str | None = None
        try:
            while not self._remote.ready(0.5):
                activity = self.activity
                if activity is None:
                    continue
                if activity.seconds > self._limit:
                    self._remote.kill()
                    raise EnvironmentFault(f"no answer within {self._limit:g} s (--timeout)")
                if self._say and activity.seconds > LONG and activity.what != told:
                    told = activity.what
                    self._say(f"{activity} …")
            return self._remote.receive()
        except EnvironmentFault as fault:
            activity = self.activity
            if activity is None:
                raise
            raise EnvironmentFault(f"{fault}; in {activity.what}") from fault

    def close(self) -> None:
        """End the process and all that the environment has started."""
        self._remote.close()
        self._note.unlink(missing_ok=True)


def _begin(subject: Subject, _: None) -> None:
    """Nothing: once it has been answered, the process has made the environment."""


@dataclass(frozen=True)
class _SubjectFactory(EnvironmentFactory):
    count: int = 3
    note: str = ""

    def here(self) -> Any:
        plain = EnvironmentFactory(self.name, self.registered, self.settings, shift=self.shift)
        return _Caller(Subject(plain, self.count, doing=Doing(Path(self.note))))


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
