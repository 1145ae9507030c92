"""The strategy `cumulative`: each stage trains on all environments so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import contrail

if TYPE_CHECKING:
    import numpy

    from contrail.stream import Experience
    from contrail.training.learner import Trainer


@dataclass
class CumulativeConfig:
    """`normalize`: the environments count alike in the loss. Without it, where the loss sums over
    decisions, those with long answers count more."""

    normalize: bool = True


class Cumulative(contrail.Strategy):
    """Stage i has its own number of updates, on the tasks of stages 1 to i that have any updates.

    The environments are equally probable in every update, whatever their numbers of tasks.
    """

    Config = CumulativeConfig

    def stages(self, experiences: Sequence[Experience]) -> list[Experience]:
        from contrail.stream import Experience  # heavy: not before it is needed

        return [
            Experience.union(
                stage.name,
                [*(item for item in experiences[:end] if item.updates), stage],
                stage.updates,
            )
            for end, stage in enumerate(experiences)
        ]

    def prefix(self, stage: int) -> str:
        return "sequential" if stage == 1 else f"cumulative {self.config}"

    def begin(self, trainer: Trainer, stages: Sequence[Experience]) -> None:
        trainer.by_environment = self.config.normalize

    def draw(
        self, experience: Experience, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        if len(experience.environments) == 1:
            return experience.sample(count, rng)
        return experience.sample(count, rng, dict.fromkeys(experience.environments, 1.0))


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("cumulative", Cumulative)
