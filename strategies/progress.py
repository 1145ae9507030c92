"""The strategy `progress`: the environments so far, those most on which success changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail
from contrail.strategies._shared import success_by
from contrail.strategies.cumulative import Cumulative, CumulativeConfig

if TYPE_CHECKING:
    import numpy

    from contrail import Episode, Stage


@dataclass
class ProgressConfig(CumulativeConfig):
    """The keys of progress in stream.yaml."""

    normalize: bool = True
    """Weight environments in the loss by their shares of the episodes. If false and the loss sums
    over decisions, environments with long answers count more."""
    decay: float = field(default=0.8, metadata={"min": 0, "max": 0.999})
    """The weight of the past in the running mean of the changes of success."""
    floor: float = field(default=0.2, metadata={"min": 0, "max": 1})
    """The fraction of tasks that is drawn evenly from all."""
    difficulties: bool = False
    """Tell tasks of an environment apart by their difficulty, and measure the progress of each."""


class Progress(Cumulative):
    """Draws by learning progress: the absolute change of recent success.

    Each stage trains on the environments so far. An environment's progress is |Q|, where each
    update that plays it sets Q to decay * Q + (1 - decay) * (x - x'), with x its mean success in
    that update and x' in the last one that played it: the Online algorithm of Teacher-Student
    Curriculum Learning (arXiv:1707.00183), after arXiv:1704.03003. Tasks are drawn in proportion to
    the progress, a floor apart. What is being forgotten changes as well, so it comes back. Until
    two updates have played it, an environment has the largest progress, 1.
    """

    Config = ProgressConfig
    starts_at = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._latest: dict[str, float] = {}
        self._change: dict[str, float] = {}

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        arms = self._arms(stage)
        counts = rng.multinomial(count, list(self.shares(arms).values()))
        parts = zip(arms.values(), counts, strict=True)
        return [task for tasks, n in parts for task in contrail.draw_tasks(tasks, int(n), rng)]

    def _arms(self, stage: Stage) -> dict[str, list[contrail.Task]]:
        """Return the tasks of a stage by what is drawn and measured together."""
        arms: dict[str, list[contrail.Task]] = {}
        for name, tasks in stage.tasks.items():
            for task in tasks:
                arms.setdefault(self._arm(name, task), []).append(task)
        return arms

    def _arm(self, environment: str, task: contrail.Task) -> str:
        return f"{environment}/{task.difficulty}" if self.config.difficulties else environment

    def shares(self, arms: Iterable[str]) -> dict[str, float]:
        """Return the probability of each arm."""
        import numpy

        names = list(arms)
        progress = numpy.array([abs(self._change.get(name, 1.0)) for name in names])
        progress = progress / progress.max() if progress.any() else numpy.ones(len(names))
        floor = self.config.floor
        shares = floor / len(names) + (1 - floor) * progress / progress.sum()
        return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        for name, share in self.shares(self._arms(stage)).items():
            self.log(f"share/{name}", share)
        decay = self.config.decay
        success = success_by(lambda item: self._arm(item.environment, item.task), episodes)
        for name, latest in success.items():
            if name in self._latest:
                change = (1 - decay) * (latest - self._latest[name])
                self._change[name] = decay * self._change.get(name, 0.0) + change
            self._latest[name] = latest

    def state_dict(self) -> dict[str, Any]:
        return {"latest": self._latest, "change": self._change} if self._latest else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._latest, self._change = state["latest"], state["change"]


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("progress", Progress)
