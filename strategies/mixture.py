"""The strategy `mixture`: all environments at once, in one stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import contrail
from contrail import ConfigError, nearest

if TYPE_CHECKING:
    import numpy

    from contrail import Learner, Stage


@dataclass
class MixtureConfig:
    """The keys of mixture in stream.yaml."""

    weights: dict[str, float] | None = None
    """Relative shares of the training episodes, by environment; an environment without a weight is
    not trained on. By default, the numbers of updates in the stream."""
    temperature: float = field(default=1.0, metadata={"min": 0.01})
    """The probability of environment j is weight_j^(1/temperature), normalised, as in multilingual
    training (arXiv:1907.05019): 1 keeps the weights, a large temperature makes them equal."""
    normalize: bool = True
    """Weight environments in the loss by their shares of the episodes. If false and the loss sums
    over decisions (`grpo.loss_type`), they are weighted by their shares of the decisions: answers
    ten times as long count ten times as much."""

    def __post_init__(self) -> None:
        weights = list((self.weights or {}).values())
        if any(not 0 <= weight < float("inf") for weight in weights) or (
            weights and sum(weights) == 0
        ):
            raise ValueError("weights must be numbers from 0, and not all 0.")


class Mixture(contrail.Strategy):
    """One stage of as many updates as the stream has; every update mixes all environments."""

    Config = MixtureConfig
    exclusive = "it has one stage, after which nothing is forgotten"

    def stages(self, stages: Sequence[Stage]) -> list[Stage]:
        updates = sum(stage.updates for stage in stages)
        if updates and not self.config.weights:  # a stage without updates has no share
            stages = [item for item in stages if item.updates]
        mixed = contrail.Stage.union("mixture", stages, updates)
        weights = dict.fromkeys(mixed.environments, 0.0)
        if self.config.weights is None:
            for stage in stages:
                for environment in stage.environments:
                    weights[environment] += stage.updates if updates else 1
        for environment, weight in (self.config.weights or {}).items():
            if environment not in weights:
                raise ConfigError(
                    f"weights: no stage trains on {environment!r}. {nearest(environment, weights)}"
                )
            weights[environment] = weight
        if not sum(weights.values()):
            raise ConfigError("weights: all are 0.")
        highest = max(weights.values())
        self._shares = {
            name: (weight / highest) ** (1 / self.config.temperature)
            for name, weight in weights.items()
            if weight
        }
        tasks = {name: mixed.tasks[name] for name in self._shares}
        adapters = {name: mixed.adapters[name] for name in self._shares}
        return [contrail.Stage("mixture", tasks, adapters, updates, mixed.objective)]

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        learner.by_environment = self.config.normalize

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        return stage.sample(count, rng, self._shares)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("mixture", Mixture)
