"""The strategy `l2`: the parameters stay near those at the beginning of the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import contrail
from contrail.strategies._shared import Anchored

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Episode, Learner


@dataclass
class L2Config:
    """The keys of l2 in stream.yaml."""

    strength: float = field(default=1.0, metadata={"min": 0})
    """The weight of the squared distance."""


class L2(Anchored):
    """A penalty on the distance from the parameters after the previous stage.

    It is strength/2 * sum_k (theta_k - theta'_k)^2 over the LoRA parameters, with theta' those
    after the previous stage: EWC with equal weights (arXiv:1612.00796). The first stage has no
    penalty.
    """

    Config = L2Config

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        parameters = learner.policy.parameters
        for name, anchor in self._anchor.items():
            parameter = parameters[name]
            yield self.config.strength / 2 * (parameter - anchor.to(parameter)).square().sum()


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("l2", L2)
