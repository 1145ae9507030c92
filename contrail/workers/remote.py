"""An environment in a worker process, as the main process sees it."""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contrail.environment import Environment, Observation, Step, Task
from contrail.errors import EnvironmentFault, PluginError
from contrail.plugin_files import FILE_PREFIX
from contrail.workers.child import Child
from contrail.workers.factory import EnvironmentFactory

GRACE = 5.0
"""The number of seconds that a worker process has to close its environment."""
WITHIN = ("step", "finish")
"""What is called within an episode, and so of one process."""
START = 600.0
"""The number of seconds that making the instance may take, where its reset has fewer. They are not
part of those of the reset: a process that is started late, or replaced, would lose its episode."""


@dataclass(frozen=True)
class Answer:
    """The result of one call, and the members of the environment that the main process reads."""

    value: Any = None
    error: Exception | None = None
    system_prompt: str = ""
    max_turns: int = 0
    notes: tuple[str, ...] = ()


class Remote(Environment):
    """Stands for an instance in a worker process, which is started when it is first called.

    The methods of an environment wait for the answer; between `send` and `receive` other work can
    be done. `system_prompt`, `max_turns` and `notes` have the values they had after the last
    answer.

    Args:
        factory: makes the instance, in the worker process.
        environ: environment variables that differ there.
    """

    def __init__(
        self, factory: EnvironmentFactory, environ: Mapping[str, str] | None = None
    ) -> None:
        self.config = factory.settings
        self._factory = factory
        self._environ = environ
        self._child: Child | None = None
        self._unanswered: list[str] = []
        self._deadline: float | None = None

    def tasks(self, split: str) -> list[Task]:
        listed: list[Task] = self._call("tasks", split)
        return listed

    def reset(self, task: Task) -> Observation:
        observation: Observation = self._call("reset", task)
        return observation

    def step(self, action: str) -> Step:
        step: Step = self._call("step", action)
        return step

    def expert(self, task: Task) -> Sequence[str] | None:
        actions: Sequence[str] | None = self._call("expert", task)
        return actions

    def game(self, task: Task) -> str | None:
        name: str | None = self._call("game", task)
        return name

    def finish(self) -> Step | None:
        step: Step | None = self._call("finish") if self.finishes else None
        return step

    @property
    def finishes(self) -> bool:
        """Whether the class has a `finish` of its own, and has to be asked."""
        return self._factory.registered.value.finish is not Environment.finish

    def send(self, method: str, *arguments: Any) -> None:
        """Call a method of the instance; `receive` returns its result.

        Raises:
            PluginError: no process can be started for it.
        """
        # Either an episode was abandoned during a step, or the process has died between two
        # episodes (it sends nothing unasked, so anything that can be read is the end). Nothing is
        # lost. Within an episode, its state is lost: `receive` says so.
        if self._unanswered or (method not in WITHIN and self._ended()):
            self.kill()
        if self._child is None:
            self._child = self._start()
        self._post(self._child, method, *arguments)
        limit = self.time_limit(method)
        if limit is not None and self._unanswered[0] == "start":
            limit = max(START, limit)
        self._deadline = None if limit is None else time.monotonic() + limit

    def receive(self) -> Any:
        """Return the result of the last call.

        Raises:
            ContrailError: the environment raised it.
            EnvironmentFault: it raised something else, the process died, or took too long.
        """
        value = None
        while self._unanswered:
            answer = self._read()
            method = self._unanswered.pop(0)
            if answer.error is not None:
                if method == "start":
                    self.kill()
                raise answer.error
            if method == "start" and self._deadline is not None:
                self._deadline = time.monotonic() + self._factory.step_timeout
            value = answer.value
            self.system_prompt, self.max_turns = answer.system_prompt, answer.max_turns
            self.notes = answer.notes
        return value

    def time_limit(self, method: str) -> float | None:
        """Return the number of seconds that a call of a method may take; None for no limit."""
        return self._factory.step_timeout if method in ("reset", *WITHIN) else None

    def ready(self, seconds: float) -> bool:
        """Wait for an answer, or the end of the process; return whether there is one."""
        if self._child is None or not self._unanswered:
            return True
        if self._deadline is not None and time.monotonic() > self._deadline:
            return True  # `receive` says so
        return self._child.connection.poll(seconds)

    def hang_up(self) -> None:
        """Let the process close the instance and end, without waiting for it."""
        if self._unanswered:
            self.kill()
        if self._child is not None:
            self._child.hang_up()

    def close(self) -> None:
        """End the process when it has closed the instance."""
        self.hang_up()
        if self._child is not None:
            self._child.wait(GRACE)
        self.kill()

    def kill(self) -> int | None:
        """End the process and all that it has started at once; return its exit code, if any."""
        if self._child is None:
            return None
        code = self._child.kill()
        self._child = None
        self._unanswered = []
        return code

    def _ended(self) -> bool:
        if self._child is None:
            return False
        return self._child.connection.poll() or self._child.code() is not None

    def _call(self, method: str, *arguments: Any) -> Any:
        self.send(method, *arguments)
        return self.receive()

    def _start(self) -> Child:
        factory = self._factory
        classes = [*reversed(factory.registered.value.__mro__), type(factory.settings)]
        modules = dict.fromkeys(cls.__module__ for cls in classes)
        files = [sys.modules[name].__file__ for name in modules if name.startswith(FILE_PREFIX)]
        try:
            if "__main__" in modules:
                raise pickle.PicklingError("it is defined in __main__")
            packed = pickle.dumps(factory)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PluginError(
                f"{factory} cannot be made in a worker process: {error}. Define it at the top of a "
                "module or a plugin file, or set `workers: 0`."
            ) from error
        try:
            child = Child("contrail.workers.worker", environ=self._environ)
        except OSError as error:
            raise PluginError(
                f"{factory}: a worker process cannot be started: {error}. Lower `workers`."
            ) from error
        self._post(child, "start", sys.path, files, packed)
        return child

    def _post(self, child: Child, method: str, *arguments: Any) -> None:
        self._unanswered.append(method)
        with contextlib.suppress(ConnectionError):  # it has died, which `receive` reports
            child.connection.send((method, *arguments))

    def _read(self) -> Answer:
        assert self._child is not None
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            if not self._child.connection.poll(left):
                starting = self._unanswered[0] == "start"
                self.kill()
                if starting:
                    seconds = max(START, self._factory.step_timeout)
                    raise EnvironmentFault(f"it was not made within {seconds:g} s")
                raise EnvironmentFault(
                    f"no answer within {self._factory.step_timeout:g} s (step_timeout)"
                )
            answer: Answer = self._child.connection.recv()
        except (EOFError, ConnectionError) as error:
            self._child.wait(GRACE)  # so that its own exit code is seen, not that of kill
            raise EnvironmentFault(f"its worker process died, {_end(self.kill())}") from error
        return answer


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
