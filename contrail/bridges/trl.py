"""contrail's environments for TRL's GRPOTrainer, where the model acts by calling a tool.

trainer = GRPOTrainer(
    environment_factory=contrail.bridges.as_trl("babyai"),
    train_dataset=Dataset.from_list(contrail.bridges.trl_rows("babyai", "train")),
    …
)
"""

from __future__ import annotations

import weakref
from typing import Any

from contrail.actions import list_actions
from contrail.bridges.tasks import find_task
from contrail.environment import SPLITS, Environment, Observation
from contrail.errors import ConfigError, ContrailError, nearest
from contrail.registry.plugins import Plugins
from contrail.workers.factory import EnvironmentFactory


def as_trl(
    environment: str | type[Environment],
    settings: Any = None,
    *,
    plugins: Plugins | None = None,
) -> type:
    """Return a class for `environment_factory` of TRL's GRPOTrainer, to be used with `trl_rows`.

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
            found = find_task({name: one for tasks in known for name, one in tasks.items()}, task)
            self._begun, self._over, self._reward, self._turns = True, False, 0.0, 0
            return _shown(self._environment.reset(found))

        def act(self, action: str) -> str:
            """Carry out one action.

            Args:
                action: The action, in words that the environment understands.

            Returns:
                The next observation, and the possible actions.
            """
            self._need_reset()
            if self._over:
                return "The episode is over."
            step = self._environment.step(action)
            self._turns += 1
            self._reward += float(step.reward)
            self._over = step.terminated or step.truncated
            if not self._over and self._turns >= self._environment.max_turns:
                self._over = True
                self._finish()
            if self._over:
                return f"{step.observation.text}\nThe episode is over."
            return _shown(step.observation)

        def get_reward(self) -> float:
            """Return the sum of the rewards since the reset."""
            self._need_reset()
            if not self._over:  # TRL has ended the episode
                self._finish()
            return self._reward

        def _finish(self) -> None:
            if (end := self._environment.finish()) is not None:
                self._over = True
                self._reward += end.reward

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
    """Return the rows of a dataset for TRL, one for each task: `prompt`, and `task` (its id) and
    `split`.

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


def _shown(seen: Observation) -> str:
    listed = "" if seen.actions is None else f"\nYou can:{list_actions(seen.actions)}"
    return f"{seen.text}{listed}"
