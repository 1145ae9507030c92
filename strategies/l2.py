"""The strategy `l2`: the parameters stay near what they were when the stage began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail.episode import Episode
    from contrail.training.learner import Learner


@dataclass
class L2Config:
    """`strength`: the weight of the squared distance."""

    strength: float = field(default=1.0, metadata={"min": 0})


class L2(contrail.Strategy):
    """strength/2 * sum_k (theta_k - theta'_k)^2 over the LoRA parameters, with theta' those after
    the previous stage: EWC with all parameters alike (arXiv:1612.00796). The first stage has none.
    """

    Config = L2Config

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._anchor: dict[str, torch.Tensor] = {}

    def cache_key(self, stage: int) -> str:
        return "sequential" if stage == 1 else f"l2 {self.config}"

    def before_training_exp(self, loop: Any) -> None:
        if loop.stage > 1:
            self._anchor = loop.policy.snapshot()

    def penalty(
        self, trainer: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        parameters = trainer.policy.parameters
        for name, anchor in self._anchor.items():
            yield self.config.strength / 2 * (parameters[name] - anchor).square().sum()


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("l2", L2)
