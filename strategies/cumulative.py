"""The strategy `cumulative`: each stage trains on all environments so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import contrail

if TYPE_CHECKING:
    import numpy

    from contrail import Learner, Stage


@dataclass
class CumulativeConfig:
    """The keys of cumulative in stream.yaml."""

    normalize: bool = True
    """Give all environments equal weight in the loss. If false and the loss sums over decisions,
    environments with long answers count more."""


class Cumulative(contrail.Strategy):
    """Each stage trains on the tasks of all stages so far.

    A stage has its own number of updates; earlier stages without updates are left out. The
    environments are equally probable in every update, whatever their numbers of tasks.
    """

    Config = CumulativeConfig
    starts_at = 2

    def stages(self, stages: Sequence[Stage]) -> list[Stage]:
        return [
            contrail.Stage.union(
                stage.name,
                [*(item for item in stages[:end] if item.updates), stage],
                stage.updates,
            )
            for end, stage in enumerate(stages)
        ]

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        learner.by_environment = self.config.normalize

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        if len(stage.environments) == 1:
            return stage.sample(count, rng)
        return stage.sample(count, rng, dict.fromkeys(stage.environments, 1.0))


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("cumulative", Cumulative)
