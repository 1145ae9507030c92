"""contrail's environments for other libraries: as a gymnasium environment, and as TRL's.

    environment = contrail.bridges.as_gymnasium("babyai")
    trainer = GRPOTrainer(
        environment_factory=contrail.bridges.as_trl("babyai"),
        train_dataset=Dataset.from_list(contrail.bridges.trl_rows("babyai", "train")),
        …
    )

The other way, gymnasium's environments for contrail, is the plugin `gymnasium`.
"""

from __future__ import annotations

import string
import weakref
from typing import Any

import gymnasium

from contrail.environment import SPLITS, Environment, Observation, Task
from contrail.errors import ConfigError, ContrailError, nearest
from contrail.registry import Plugins
from contrail.workers.factory import EnvironmentFactory

LONGEST = 1 << 20  # characters; gymnasium wants a bound on texts


class AnyText(gymnasium.spaces.Text):
    """Texts of any characters; samples are of printable ASCII."""

    def __init__(self) -> None:
        super().__init__(LONGEST, min_length=0, charset=string.printable)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= LONGEST

    def sample(self, *args: Any, **kwargs: Any) -> str:
        """A short text, as an action is."""
        return super().sample(*args, **kwargs)[:100]


class Played(gymnasium.Env[str, str]):
    """An environment of contrail's as a gymnasium environment.

    `reset(options={"task": id})` begins a task; without, one is drawn. The info has "task",
    "success", "valid", and "admissible_commands" where the environment lists them.
    """

    observation_space = AnyText()
    action_space = AnyText()

    def __init__(self, environment: Environment, split: str) -> None:
        self.environment = environment
        self.tasks = {task.id: task for task in environment.tasks(split)}
        self._task: Task | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        ids = list(self.tasks)
        chosen = (options or {}).get("task") or ids[int(self.np_random.integers(len(ids)))]
        self._task = _task(self.tasks, chosen)
        self._turns = 0
        return self._told(self.environment.reset(self._task), success=False, valid=True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if self._task is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        step = self.environment.step(action)
        self._turns += 1
        cut = not step.terminated and self._turns >= self.environment.max_turns
        text, info = self._told(step.observation, success=step.success, valid=step.valid)
        return text, float(step.reward), step.terminated, step.truncated or cut, info

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
    """An environment as a gymnasium environment of texts.

    Args:
        environment: a registered name, or a class.
        settings: an instance of its `Config`; by default the default settings.
        split: which tasks are played.
        plugins: where a name is looked up; by default the installed ones.

    Raises:
        ContrailError: the environment cannot be made.
    """
    return Played(EnvironmentFactory.of(environment, settings, plugins).here(), split)


def as_trl(
    environment: str | type[Environment],
    settings: Any = None,
    *,
    plugins: Plugins | None = None,
) -> type:
    """A class for `environment_factory` of TRL's GRPOTrainer, to be used with `trl_rows`.

    The model acts by calling the tool `act`; the reward is the sum of the episode's.

    Args:
        environment: a registered name, or a class.
        settings: an instance of its `Config`; by default the default settings.
        plugins: where a name is looked up; by default the installed ones.

    Raises:
        ContrailError: no environment has the name.
    """
    make = EnvironmentFactory.of(environment, settings, plugins)

    class Acted:
        # TRL makes a tool of every public method but reset and get_reward.

        def __init__(self) -> None:
            self._environment = make.here()
            weakref.finalize(self, self._environment.close)  # TRL closes nothing
            # Ids are unique within a split only.
            self._tasks = {
                split: {task.id: task for task in self._environment.tasks(split)}
                for split in SPLITS
            }
            self._begun = False

        def reset(self, task: str, split: str | None = None, **_: Any) -> str:
            """Begin the task of this id and split: columns of the dataset."""
            if split is not None and split not in SPLITS:
                raise ConfigError(f"there is no split {split!r}. {nearest(split, SPLITS)}")
            known = [tasks for name, tasks in self._tasks.items() if split in (None, name)]
            if sum(task in tasks for tasks in known) > 1:
                raise ConfigError(f"both splits have a task {task!r}: give its `split` too.")
            found = _task({name: one for tasks in known for name, one in tasks.items()}, task)
            self._begun, self._over, self._reward, self._turns = True, False, 0.0, 0
            return _shown(self._environment.reset(found))

        def act(self, action: str) -> str:
            """
            Carry out one action.

            Args:
                action: The action, in the words that the environment understands.

            Returns:
                What is seen then, and the actions that are possible.
            """
            self._need_reset()
            if self._over:
                return "The episode is over."
            step = self._environment.step(action)
            self._turns += 1
            self._reward += float(step.reward)
            self._over = step.terminated or step.truncated
            self._over = self._over or self._turns >= self._environment.max_turns
            if self._over:
                return f"{step.observation.text}\nThe episode is over."
            return _shown(step.observation)

        def get_reward(self) -> float:
            """The sum of the rewards since the reset."""
            self._need_reset()
            return self._reward

        def _need_reset(self) -> None:
            if not self._begun:
                raise ContrailError(
                    "no task has begun: call reset(**row) first, with a row of contrail.bridges."
                    "trl_rows."
                )

    Acted.__name__ = Acted.__qualname__ = make.registered.value.__name__
    return Acted


def trl_rows(
    environment: str | type[Environment],
    split: str,
    settings: Any = None,
    *,
    plugins: Plugins | None = None,
) -> list[dict[str, Any]]:
    """The rows of a dataset for TRL, one for each task: `prompt`, and `task` (its id) and `split`.

    Args:
        environment: as for `as_trl`.
        split: "train" or "test".
        settings: as for `as_trl`.
        plugins: as for `as_trl`.

    Raises:
        ContrailError: the environment cannot be made.
    """
    made = EnvironmentFactory.of(environment, settings, plugins).here()
    try:
        system = [{"role": "system", "content": made.system_prompt}] if made.system_prompt else []
        prompt = [*system, {"role": "user", "content": ""}]
        tasks = made.tasks(split)
        return [{"prompt": prompt, "task": task.id, "split": split} for task in tasks]
    finally:
        made.close()


def _task(tasks: dict[str, Task], name: str) -> Task:
    if name not in tasks:
        raise ConfigError(f"no task is called {name!r}. {nearest(name, list(tasks)[:200])}")
    return tasks[name]


def _shown(seen: Observation) -> str:
    listed = "" if seen.actions is None else f"\nYou can: {', '.join(seen.actions)}."
    return f"{seen.text}{listed}"
