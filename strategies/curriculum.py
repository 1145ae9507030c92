"""The strategy `curriculum`: within each stage, easy tasks first."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import contrail
from contrail import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy

    from contrail import Episode, Learner, Stage, StageContext


KNOWN = ("very easy", "easy", "medium", "hard", "very hard")


@dataclass
class CurriculumConfig:
    """The keys of curriculum in stream.yaml."""

    by: Literal["label", "pass_rate"] = "label"
    """The measure of difficulty: `label` is the environment's own (rising numbers, or the words in
    `order`); `pass_rate` is the success rate of the base model."""
    order: list[str] = field(default_factory=lambda: list(KNOWN))
    """The words of difficulty, from easy to hard."""
    samples: int = field(default=4, metadata={"min": 1})
    """The number of episodes per task that measure the pass rate. They count as extra episodes."""
    initial_competence: float = field(default=0.25, metadata={"min": 0, "max": 1})
    """The share of tasks, the easiest, with which a stage begins."""
    duration: float = field(default=0.75, metadata={"min": 0, "max": 1})
    """The fraction of a stage after which all tasks are in use."""


class Curriculum(contrail.Strategy):
    """Tasks are drawn from the easiest share c of the stage's, and c grows linearly to 1: it is the
    competence of Platanios et al. (arXiv:1903.09848). Equally easy tasks come into use together.
    """

    Config = CurriculumConfig
    starts_at = 1
    scheduled = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._ranks_of_tasks: list[float] = []  # of the present stage, if they were played for

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._fresh = learner.policy.snapshot()
        if self.config.by == "label":
            for stage in stages:
                for tasks in stage.tasks.values():
                    for task in tasks:
                        self._rank(task)

    def _rank(self, task: contrail.Task) -> float:
        """Return the rank of the task's label."""
        if isinstance(task.difficulty, int):
            return task.difficulty
        if task.difficulty not in self.config.order:
            raise ConfigError(
                f"the task {task.id!r} of {task.environment!r} has the difficulty "
                f"{task.difficulty!r}, which is not in order: {', '.join(self.config.order)}. "
                "Set curriculum's `order`, easiest first, or `by: pass_rate`."
            )
        return float(self.config.order.index(task.difficulty))

    def enter(self, context: StageContext, resumed: bool) -> None:
        tasks = [task for listed in context.stage.tasks.values() for task in listed]
        if self.config.by == "label":
            ranks = [self._rank(task) for task in tasks]
        else:
            if not resumed:
                with context.policy.using(self._fresh):
                    groups = context.play(tasks, self.config.samples, "pass rate")
                self._ranks_of_tasks = [_rank_by_success(group) for group in groups]
            ranks = self._ranks_of_tasks
        order = sorted(range(len(tasks)), key=lambda index: ranks[index])
        self._tasks = [tasks[index] for index in order]
        self._ranks = [ranks[index] for index in order]

    def leave(self, context: StageContext) -> None:
        self._ranks_of_tasks = []

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": self._ranks_of_tasks} if self._ranks_of_tasks else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ranks_of_tasks = state["ranks"]

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        first = self.config.initial_competence
        span = self.config.duration * stage.updates
        competence = min(1.0, first + (1 - first) * update / span) if span else 1.0
        last = max(1, math.ceil(competence * len(self._tasks)))
        open_tasks = [
            task
            for task, rank in zip(self._tasks, self._ranks, strict=True)
            if rank <= self._ranks[last - 1]
        ]
        return contrail.draw_tasks(open_tasks, count, rng)


def _rank_by_success(group: Sequence[Episode]) -> float:
    """Return a rank that is smaller for easier tasks; faults are ignored, unplayed tasks come
    last."""
    played = [item.success for item in group if item.fault is None]
    return -sum(played) / len(played) if played else 1.0


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("curriculum", Curriculum)
