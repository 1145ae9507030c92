"""Environments to play on: fast ones in this process, slow ones each in a worker process.

A worker process holds one instance and nothing of torch: about 20 MB and 0.2 s. It is started when
its first episode begins, used to the end of the run, and replaced if it dies or hangs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from contrail.environment import OVERRIDES, Environment, Observation, Step, Task
from contrail.errors import EnvironmentFault, PluginError
from contrail.registry import FILE_PREFIX, Plugins, Registered, blaming, load_plugins

# A worker process has this long (seconds) to close its environment.
GRACE = 5.0


@dataclass(frozen=True)
class EnvironmentFactory:
    """Makes instances of a registered environment: itself, or in a worker process.

    `settings` are the default ones if None, and `max_turns` is the environment's own; `workers` and
    `step_timeout` are as in `Environment`.
    """

    name: str
    registered: Registered[type[Environment]]
    settings: Any = None
    max_turns: int | None = None
    workers: int = 0
    step_timeout: float = Environment.step_timeout

    @classmethod
    def of(
        cls,
        environment: str | type[Environment],
        settings: Any = None,
        plugins: Plugins | None = None,
    ) -> EnvironmentFactory:
        """What makes, in this process, the environment of a name or class.

        Names are looked up in `plugins`, by default the installed ones.

        Raises:
            ConfigError: no environment has the name.
        """
        if not isinstance(environment, str):
            registered = Registered(environment, environment.__module__)
            return cls(environment.__name__, registered, settings)
        plugins = load_plugins() if plugins is None else plugins
        return cls(environment, plugins.environments[environment], settings)

    def __str__(self) -> str:
        return f"environment {self.name!r} (plugin {self.registered.plugin!r})"

    def __call__(self) -> Environment:
        """An instance, or what stands for one in a worker process."""
        return Remote(self) if self.workers else self.here()

    def here(self) -> Environment:
        """An instance in this process.

        Raises:
            ContrailError: it cannot be made.
        """
        try:
            with blaming("environment", self.name, self.registered, "cannot be made"):
                environment = self.registered.value(self.settings)
        except PluginError as error:
            missing = error.__cause__
            if not isinstance(missing, ImportError):
                raise
            raise PluginError(
                f"{self} needs a package that is not installed: {missing}. "
                f"Try: pip install 'contrail[{self.name}]'"
            ) from missing
        if self.max_turns is not None:
            environment.max_turns = self.max_turns
        self.check("max_turns", environment.max_turns)
        return environment

    def check(self, member: str, value: object) -> None:
        """Refuse a value that makes no sense for a member of the environment.

        Raises:
            PluginError: it makes none.
        """
        wanted, allowed = OVERRIDES[member]
        if not allowed(value):
            raise PluginError(f"{self}: {member} is {value!r}, not {wanted}.")


class EnvironmentPool:
    """Instances of the environments, made when needed and used again.

    Args:
        makers: for each column of R, what makes an instance of its environment.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Environment]]) -> None:
        self._makers = makers
        self._idle: dict[str, list[Environment]] = {name: [] for name in makers}
        self._made: dict[str, list[Environment]] = {name: [] for name in makers}

    def free(self, name: str) -> bool:
        """Whether there is an instance to take: of worker processes there may be no more."""
        make = self._makers[name]
        limit = make.workers if isinstance(make, EnvironmentFactory) else 0
        return not limit or bool(self._idle[name]) or len(self._made[name]) < limit

    def take(self, name: str) -> Environment:
        """An instance that nobody else plays on."""
        if self._idle[name]:
            return self._idle[name].pop()
        made = self._makers[name]()
        self._made[name].append(made)
        return made

    def give(self, name: str, environment: Environment) -> None:
        """Hand an instance back."""
        self._idle[name].append(environment)

    def close(self) -> None:
        """Close every instance; worker processes all at the same time."""
        every = [environment for made in self._made.values() for environment in made]
        for environment in every:
            if isinstance(environment, Remote):
                environment.hang_up()
        for environment in every:
            environment.close()


@dataclass(frozen=True)
class Answer:
    """What a worker process made of one call, and the members that the main process reads."""

    value: Any = None
    error: Exception | None = None
    system_prompt: str = ""
    max_turns: int = 0


class Remote(Environment):
    """Stands for an instance in a worker process, which is started when it is first called.

    The members of an environment wait for the answer; between `send` and `receive` other work can
    be done. `system_prompt` and `max_turns` are those after the last answer.
    """

    def __init__(self, make: EnvironmentFactory) -> None:
        self.config = make.settings
        self._make = make
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
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

    def send(self, member: str, argument: Any) -> None:
        """Have the instance do something; `receive` says what came of it.

        Raises:
            PluginError: no process can be started for it.
        """
        # Either an episode was abandoned amid a step, or the process has died between two episodes
        # (it says nothing unasked, so what can be read is the end). Nothing is lost with it.
        if self._unanswered or self._ended():
            self.kill()
        if self._connection is None:
            self._start()
        self._post(member, argument)
        timed = member in ("reset", "step")
        self._deadline = time.monotonic() + self._make.step_timeout if timed else None

    def receive(self) -> Any:
        """The answer to what was sent last.

        Raises:
            ContrailError: the environment raised it.
            EnvironmentFault: it raised something else, the process died, or took too long.
        """
        value = None
        while self._unanswered:
            answer = self._read()
            member = self._unanswered.pop(0)
            if answer.error is not None:
                if member == "start":
                    self.kill()
                raise answer.error
            value, self.system_prompt, self.max_turns = (
                answer.value,
                answer.system_prompt,
                answer.max_turns,
            )
        return value

    def hang_up(self) -> None:
        """Let the process close the instance and end, without waiting for it."""
        if self._unanswered:
            self.kill()
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """End the process, when it has closed the instance."""
        self.hang_up()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self.kill()

    def kill(self) -> int | None:
        """End the process at once, and all that it has started; its exit code, if there was one."""
        if self._process is None or self._connection is None:
            return None
        self._connection.close()
        # It leads a process group of its own. Where none of it is left there is nothing to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._process = self._connection = None
        self._unanswered = []
        return code

    def _ended(self) -> bool:
        if self._connection is None or self._process is None:
            return False
        return self._connection.poll() or self._process.poll() is not None

    def _call(self, member: str, argument: Any) -> Any:
        self.send(member, argument)
        return self.receive()

    def _start(self) -> None:
        make = self._make
        classes = [*reversed(make.registered.value.__mro__), type(make.settings)]
        modules = dict.fromkeys(cls.__module__ for cls in classes)
        files = [sys.modules[name].__file__ for name in modules if name.startswith(FILE_PREFIX)]
        try:
            if "__main__" in modules:
                raise pickle.PicklingError("it is defined in __main__")
            packed = pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PluginError(
                f"{make} cannot be made in a worker process: {error}. Define it at the top of a "
                "module or a plugin file, or set `workers: 0`."
            ) from error
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "contrail.workers.worker", str(theirs.fileno())]
        try:
            # Not the module multiprocessing, which would import the user's main script again. In a
            # session of its own, Ctrl-C on the terminal does not reach it.
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise PluginError(
                f"{make}: a worker process cannot be started: {error}. Lower `workers`."
            ) from error
        finally:
            theirs.close()
        self._connection = ours
        self._post("start", (sys.path, files, packed))

    def _post(self, member: str, argument: Any) -> None:
        assert self._connection is not None
        self._unanswered.append(member)
        with contextlib.suppress(ConnectionError):  # it has died, which `receive` tells
            self._connection.send((member, argument))

    def _read(self) -> Answer:
        assert self._connection is not None
        assert self._process is not None
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        try:
            if not self._connection.poll(left):
                self.kill()
                raise EnvironmentFault(
                    f"no answer within {self._make.step_timeout:g} s (step_timeout)"
                )
            answer: Answer = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)  # so that its own exit code is seen, not that of kill
            raise EnvironmentFault(f"its worker process died, {_end(self.kill())}") from error
        return answer


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"killed by {signal.Signals(-code).name}"
