"""openenv: a client to a running OpenEnv server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contrail import (
    ConfigError,
    ContrailError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
)
from contrail.leaks import seed_tasks

TEXTS = ("text", "prompt", "message", "content", "observation", "result", "output", "stdout")
"""Fields of an observation that are taken for its text, the first that is there."""

HINTS = {
    "VALIDATION_ERROR": (
        "The action has other fields: name the one for the text in the key `action`, and give the "
        "others in `constants`."
    ),
    "CAPACITY_REACHED": (
        "Let the server take more sessions (its max_concurrent_envs): one for each of the episodes "
        "that are played side by side, of which there are up to 64."
    ),
}
"""Advice for the server's error codes."""


@dataclass
class OpenEnvConfig:
    """The keys of openenv in stream.yaml."""

    url: str = ""
    """The address of the server, "http://localhost:8000"."""
    action: str = "message"
    """The field of the server's action that takes the text."""
    constants: dict[str, Any] = field(default_factory=dict)
    """The other fields of every action."""
    observation: str = ""
    """The field of the observation that holds the text. By default, the first that exists of text,
    prompt, message, content, observation, result, output and stdout; otherwise all fields as
    JSON."""
    actions: str = ""
    """The field of the observation that lists the admissible actions, if it has one."""
    train_tasks: int = 500
    """The number of training seeds: 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test seeds: every fifth, 4, 9, 14, ..."""
    split_by: str = "seed"
    """What decides whether a task is for training or testing: its "seed", or its "start". The start
    is the first observation; use it if that is the whole start state and seeds may share it.
    Each start is then one task, and `tasks` resets one game per seed."""
    success_above: float = 0.0
    """An episode has succeeded if it is done and its last reward is above this."""
    timeout: float = 60.0
    """The number of seconds to wait for an answer."""


class OpenEnv(Environment):
    """A session on an OpenEnv server, one per instance; a task is the seed of a reset.

    The server decides whether the same seed gives the same episode (`contrail check` tests it), and
    how many sessions it accepts (its max_concurrent_envs): 64 episodes are played at the same time.
    A server that stops answering is a fault of the environment; the episode is excluded.
    """

    Config = OpenEnvConfig

    def __init__(self, config: OpenEnvConfig | None = None) -> None:
        super().__init__(config)
        url = self.config.url
        if not url.startswith(("http://", "https://", "ws://", "wss://")):
            raise ConfigError(
                f"openenv: url is {url!r}. Name a running server, for example "
                "{name: openenv, url: http://localhost:8000}."
            )
        if min(self.config.train_tasks, self.config.test_tasks) < 1:
            raise ConfigError("openenv: train_tasks and test_tasks must be 1 or more.")
        from openenv.core.generic_client import GenericEnvClient

        client = GenericEnvClient(base_url=url, message_timeout_s=self.config.timeout)
        self._client: Any = client.sync()
        self._over = True
        self.about_data = f"seeds of {url}"

    def tasks(self, split: str) -> list[Task]:
        self._ask(self._client.connect)
        return seed_tasks(self, "openenv", split)

    def reset(self, task: Task) -> Observation:
        self._over = True
        # Opens the session if there is none: an instance that is made in the middle of a run, when
        # the server has died, has a fault then, and does not end the run.
        result = self._ask(self._client.reset, seed=task.seed)
        if result.done:
            raise ContrailError(
                f"openenv: {self.config.url} ends the episode of seed {task.seed} before it begins."
            )
        self._over = False
        return self._observe(result.observation)

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The episode is over."), terminated=True, valid=False)
        fields = {**self.config.constants, self.config.action: action}
        result = self._ask(self._client.step, fields)
        self._over = bool(result.done)
        reward = float(result.reward or 0.0)
        solved = self._over and reward > self.config.success_above
        return Step(self._observe(result.observation), reward, self._over, success=solved)

    def close(self) -> None:
        self._client.close()

    def _ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return the server's answer.

        Raises:
            ContrailError: there is none, or it is an error; the message names the setting that may
                help.
        """
        from websockets.exceptions import ConnectionClosed

        url = self.config.url
        try:
            return call(*arguments, **named)
        except TimeoutError as error:
            raise ContrailError(
                f"openenv: the server at {url} has not answered within {self.config.timeout:g} s. "
                "If it is slow, raise `timeout`."
            ) from error
        except (OSError, ConnectionClosed) as error:
            raise ContrailError(
                f"openenv: no server answers at {url}: {_line(error)}. Start it (again), or "
                "correct `url`."
            ) from error
        except RuntimeError as error:  # what the server says, with a code
            text = _line(error)
            hint = next((hint for code, hint in HINTS.items() if code in text), "")
            raise ContrailError(f"openenv: {url}: {text}. {hint}".rstrip()) from error

    def _observe(self, seen: dict[str, Any]) -> Observation:
        """Text and actions of the server's observation.

        Raises:
            ConfigError: it has no such fields as the settings name, or no list of actions.
        """
        for key in (self.config.observation, self.config.actions):
            if key and key not in seen:
                raise ConfigError(f"openenv: an observation has no {key!r}. {nearest(key, seen)}")
        named = [self.config.observation] if self.config.observation else TEXTS
        found = next((seen[key] for key in named if key in seen), None)
        text = found if isinstance(found, str) else json.dumps(seen if found is None else found)
        listed = seen[self.config.actions] if self.config.actions and not self._over else None
        if listed is None:
            return Observation(text)
        if not isinstance(listed, list) or not all(
            isinstance(item, str | int | float) for item in listed
        ):
            raise ConfigError(
                f"openenv: {self.config.actions!r} is not a list of actions, texts or "
                f"numbers: {json.dumps(listed)[:80]}. Name another field in `actions`, or none."
            )
        return Observation(text, [*map(str, listed)])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("openenv", OpenEnv)
