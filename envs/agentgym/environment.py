"""agentgym: a client to AgentGym's environment servers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contrail import (
    SPLITS,
    ConfigError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    read_action,
)
from contrail.envs.agentgym.server import Server
from contrail.leaks import seed_tasks

LONGEST = 10_000  # characters of an action; servers repeat in their answers what they refuse
LISTED = re.compile(r"\n?Available actions: (\[.*\])\s*\Z", re.DOTALL)


@dataclass
class AgentGymConfig:
    """The keys of agentgym in stream.yaml."""

    url: str = ""
    """The address of the server, "http://localhost:36001", with the environment's path where a
    server has several ("http://localhost:36001/maze")."""
    index: str = ""
    """The field of the server's /reset that takes the number of a task. By default it is read in
    the server's /openapi.json: data_idx, session_id, item_id, game, seed, idx or id."""
    constants: dict[str, Any] = field(default_factory=dict)
    """Further fields of /create and /reset, such as {world_type: Text} for AlfWorld."""
    rules: str = ""
    """The system message. AgentGym's servers do not tell the rules; its clients do."""
    train_tasks: int = 500
    """The number of training tasks, by their number on the server: 0, 1, 2, 3, 5, 6, ..."""
    test_tasks: int = 100
    """The number of test tasks: every fifth, 4, 9, 14, ..."""
    train_indices: list[int] = field(default_factory=list)
    """The numbers of the training tasks, in place of `train_tasks`: of AgentGym's own lists, for
    example. `test_indices` must then be given as well."""
    test_indices: list[int] = field(default_factory=list)
    """The numbers of the test tasks, in place of `test_tasks`."""
    split_by: str = "seed"
    """What decides whether a task is for training or testing: its number ("seed"), or its "start".
    The start is the first observation; use it where several numbers are one task, as in TextCraft,
    which counts from the beginning again after its last. `tasks` then resets one task per number.
    """
    success_above: float = 0.0
    """An episode has succeeded if it is done and its last reward is above this: 0.99 where a reward
    between 0 and 1 is a partial success, as in WebShop."""
    timeout: float = 60.0
    """The number of seconds to wait for an answer."""


class AgentGym(Environment):
    """A session on a server of AgentGym, one per instance; a task is a number on the server.

    The reward is the server's, step by step. Admissible actions are those that an answer lists, in
    `available_actions` or at the end of the observation. The server decides whether a number gives
    the same episode each time (`contrail check` tests it).
    """

    Config = AgentGymConfig

    def __init__(self, config: AgentGymConfig | None = None) -> None:
        super().__init__(config)
        url = self.config.url
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"agentgym: url is {url!r}. Name a running server, for example "
                "{name: agentgym, url: http://localhost:36001}."
            )
        _check_numbers(self.config)
        self._server = Server(url, self.config.index, self.config.constants, self.config.timeout)
        self._over = True
        self._listed: list[str] | None = None
        self.system_prompt = self.config.rules
        self.about_data = f"task numbers of {url}"
        self.notes = [
            f"The server at {url} makes the tasks: after a restart, or with another version of it, "
            "a task may be another."
        ]

    def tasks(self, split: str) -> list[Task]:
        given = {"train": self.config.train_indices, "test": self.config.test_indices}
        if given.get(split):
            return [Task("agentgym", f"seed-{n}", n, split) for n in given[split]]
        return seed_tasks(self, "agentgym", split)

    def reset(self, task: Task) -> Observation:
        self._over = True
        answer, text = self._server.reset(task.seed)
        self._over = False
        return self._observe(answer, text)

    def step(self, action: str) -> Step:
        if self._over:
            return Step(Observation("The episode is over."), terminated=True, valid=False)
        answer, text, taken = self._server.step(read_action(action[:LONGEST], self._listed or ()))
        if not taken:
            return Step(Observation(text, self._listed), valid=False)
        truncated = bool(answer.get("truncated"))
        terminated = bool(answer.get("done", answer.get("terminated")))
        self._over = terminated or truncated
        reward = float(answer.get("reward") or 0.0)
        return Step(
            self._observe(answer, text),
            reward,
            terminated,
            truncated,
            success=terminated and reward > self.config.success_above,
        )

    def close(self) -> None:
        self._server.close()

    def _observe(self, answer: Any, text: str) -> Observation:
        """Text and actions of an answer; what is listed at the end of the text goes out of it."""
        listed = answer.get("available_actions") if isinstance(answer, Mapping) else None
        if listed is None and (found := LISTED.search(text)):
            try:
                listed = json.loads(found[1])
            except ValueError:
                listed = None  # a name with a quote in it: the list stays in the text
            text = text if listed is None else text[: found.start()]
        known = isinstance(listed, list) and not self._over
        self._listed = [str(action) for action in listed or ()] if known else None
        return Observation(text, self._listed)


def _check_numbers(config: AgentGymConfig) -> None:
    """Refuse numbers of tasks with which no run is possible.

    Raises:
        ConfigError: there are none, some stand twice, or one is in both splits.
    """
    if min(config.train_tasks, config.test_tasks) < 1:
        raise ConfigError("agentgym: train_tasks and test_tasks must be 1 or more.")
    lists = (config.train_indices, config.test_indices)
    if any(lists) and not all(lists):
        raise ConfigError("agentgym: give both train_indices and test_indices, or neither.")
    for split, numbers in zip(SPLITS, lists, strict=True):
        if twice := [n for n in numbers if numbers.count(n) > 1]:
            raise ConfigError(f"agentgym: {split}_indices has {twice[0]} twice.")
    if both := set(lists[0]) & set(lists[1]):
        raise ConfigError(
            f"agentgym: {min(both)} is in train_indices and in test_indices. A task is for one."
        )


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register("agentgym", AgentGym)
