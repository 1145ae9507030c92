"""The strategy `mixture`: all environments at once, in one stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import contrail
from contrail.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy

    from contrail.stream import Experience


@dataclass
class MixtureConfig:
    """`weights`: of environments; without them, as many updates as the stream gives each.

    `temperature`: the probability of environment j is weight_j^(1/temperature), normalised, as in
    multilingual training (arXiv:1907.05019): 1 keeps the weights, a large one makes them equal.
    """

    weights: dict[str, float] | None = None
    temperature: float = field(default=1.0, metadata={"min": 0.01})

    def __post_init__(self) -> None:
        weights = list((self.weights or {}).values())
        if any(not 0 <= weight < float("inf") for weight in weights) or (
            weights and sum(weights) == 0
        ):
            raise ValueError("weights must be numbers from 0, and not all 0.")


class Mixture(contrail.Strategy):
    """One stage of as many updates as the stream has; every update mixes all environments."""

    Config = MixtureConfig
    alone = "it has one stage, after which nothing is forgotten"

    def stages(self, experiences: Sequence[Experience]) -> list[Experience]:
        from contrail.stream import Experience  # heavy: not before it is needed

        updates = sum(experience.updates for experience in experiences)
        stage = Experience.union("mixture", experiences, updates)
        weights = dict.fromkeys(stage.environments, 0.0)
        if self.config.weights is None:
            for experience in experiences:
                for environment in experience.environments:
                    weights[environment] += max(1, experience.updates)
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
        }
        return [stage]

    def draw(
        self, experience: Experience, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        return experience.sample(count, rng, self._shares)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("mixture", Mixture)
