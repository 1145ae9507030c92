"""contrail's environments as gymnasium's, and a split of their tasks.

The other way, gymnasium's environments for contrail, is the plugin `gymnasium`.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import gymnasium

from contrail.bridges.tasks import find_task
from contrail.environment import Environment, Observation, Task
from contrail.registry.plugins import Plugins
from contrail.workers.factory import EnvironmentFactory

LONGEST = 1 << 20  # characters; gymnasium wants a bound on texts


class AnyText(gymnasium.spaces.Text):
    """Texts of any characters; samples are of printable ASCII."""

    def __init__(self) -> None:
        super().__init__(LONGEST, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= LONGEST

    def sample(self, *args: Any, **kwargs: Any) -> str:
        """Return a short text, as an action is."""
        return super().sample(*args, **kwargs)[:100]


class Played(gymnasium.Env[str, str]):
    """An environment of contrail's as a gymnasium environment.

    `reset(options={"task": id})` begins a task; without, one is drawn. The info has "task",
    "success", "valid", "admissible_commands" where the environment lists them, and the numbers of
    `Step.info`.
    """

    observation_space = AnyText()
    action_space = AnyText()

    def __init__(self, environment: Environment, tasks: Sequence[Task]) -> None:
        self.environment = environment
        self.tasks = {task.id: task for task in tasks}
        self._task: Task | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        ids = list(self.tasks)
        chosen = (options or {}).get("task") or ids[int(self.np_random.integers(len(ids)))]
        self._task = find_task(self.tasks, chosen)
        self._turns = 0
        return self._told(self.environment.reset(self._task), success=False, valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self._task is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        step = self.environment.step(action)
        self._turns += 1
        reward, success, info = step.reward, step.success, dict(step.info)
        over = step.terminated or step.truncated
        cut = not over and self._turns >= self.environment.max_turns
        if cut and (end := self.environment.finish()) is not None:
            reward, success, info = reward + end.reward, end.success, {**info, **end.info}
        text, told = self._told(step.observation, success=success, valid=step.valid)
        return text, reward, step.terminated, step.truncated or cut, {**info, **told}

    def close(self) -> None:
        self.environment.close()

    def _told(self, seen: Observation, **flags: bool) -> tuple[str, dict[str, Any]]:
        assert self._task is not None
        info: dict[str, Any] = {"task": self._task.id, **flags}
        if seen.actions is not None:
            info["admissible_commands"] = list(seen.actions)
        return seen.text, info


def as_gymnasium(
    environment: str | type[Environment],
    settings: Any = None,
    *,
    split: str = "train",
    plugins: Plugins | None = None,
) -> Played:
    """Return an environment as a gymnasium environment of texts.

    Args:
        environment: a registered name, or a class.
        settings: an instance of its `Config`; by default the default settings.
        split: which tasks are played.
        plugins: where a name is looked up; by default the installed ones.

    Raises:
        ContrailError: the environment cannot be made.
    """
    made = EnvironmentFactory.of(environment, settings, plugins).here()
    return Played(made, made.tasks(split))
