"""The strategy `review`: tasks that were mastered come due again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail
from contrail.strategies._shared import environment_and_task, on_average, success_by

if TYPE_CHECKING:
    import numpy

    from contrail import Episode, Learner, Stage


@dataclass
class ReviewConfig:
    """The keys of review in stream.yaml."""

    fraction: float = field(default=0.5, metadata={"min": 0, "max": 1})
    """The largest fraction of reviewed tasks among the tasks of an update, on average."""
    mastered: float = field(default=1.0, metadata={"min": 0.01, "max": 1})
    """The success rate of a task's plays in an update from which the task is mastered."""
    interval: int = field(default=5, metadata={"min": 1})
    """The number of updates after which a newly mastered task comes due."""
    spacing: float = field(default=2.0, metadata={"min": 1})
    """The factor by which a task's interval grows with each review that it passes."""


class Review(contrail.Strategy):
    """Spaced review: mastered tasks, of this stage and of earlier ones, come due again.

    Due tasks take the place of new ones within the update, the longest due first. A task that
    passes its review comes due again after `spacing` times its last interval. One that fails, or is
    drawn otherwise and no longer mastered, is due in the next update, and until it is mastered
    again; then it begins with the first interval. This is the idea of arXiv:2606.03087 (mastered
    prompts are reintroduced by replacing some of a batch before it is played, early, since repair
    is cheap only soon after the loss); the schedule is ours, not that paper's.
    """

    Config = ReviewConfig
    starts_at = 1
    replays = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._now = 0  # updates of the run
        # environment -> task -> the update in which it is due, its interval; 0: it was lost
        self._schedule: dict[str, dict[str, list[float]]] = {}

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._tasks = {
            (name, task.id): task
            for stage in stages
            for name, tasks in stage.tasks.items()
            for task in tasks
        }

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        due = self._due()
        due = [due[index] for index in rng.permutation(len(due))]  # in any order among equals
        due.sort(key=lambda item: item[0])
        most = on_average(self.config.fraction * count, rng)
        reviewed = [self._tasks[key] for _, key in due[:most]]
        return [*stage.sample(count - len(reviewed), rng), *reviewed]

    def _due(self) -> list[tuple[float, tuple[str, str]]]:
        """Return the tasks that are due, each with the update since which it is."""
        return [
            (when, (name, task))
            for name, tasks in self._schedule.items()
            for task, (when, _) in tasks.items()
            if when <= self._now
        ]

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        self.log("due", len(self._due()))
        for (name, task), success in success_by(environment_and_task, episodes).items():
            tasks = self._schedule.setdefault(name, {})
            when, interval = tasks.get(task, (self._now, 0))
            if success < self.config.mastered:
                if task in tasks:
                    tasks[task] = [self._now + 1, 0]
                continue
            if interval and when <= self._now:
                interval *= self.config.spacing
            interval = interval or self.config.interval
            tasks[task] = [self._now + interval, interval]
        intervals = [item[1] for tasks in self._schedule.values() for item in tasks.values()]
        self.log("mastered", sum(interval > 0 for interval in intervals))
        self._now += 1

    def state_dict(self) -> dict[str, Any]:
        return {"now": self._now, "schedule": self._schedule} if self._now else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._now, self._schedule = state["now"], state["schedule"]


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("review", Review)
