"""The strategy `orthogonal`: each stage learns in a subspace of its own (O-LoRA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail
from contrail import ConfigError

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Episode, Learner, Stage, StageContext


@dataclass
class OrthogonalConfig:
    """The keys of orthogonal in stream.yaml."""

    strength: float = field(default=0.5, metadata={"min": 0})
    """The weight of the overlap with earlier subspaces, lambda_1 of O-LoRA."""


class Orthogonal(contrail.Strategy):
    """O-LoRA (arXiv:2310.14152) within one adapter of rank `lora.r`.

    The ranks are shared out among the T stages: stage t trains rows t of every A and columns t of
    every B, r/T of them; those of earlier stages stay and still act. Added to the loss is
    strength * sum |A_s A_t^T| over earlier stages s, the absolute values of all entries.
    """

    Config = OrthogonalConfig
    starts_at = None  # the ranks of a stage depend on the number of stages

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._stage = 0
        self._held: list[Any] = []

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        ranks = {min(item.shape) for item in learner.policy.parameters.values()}
        if not all("lora_A" in name or "lora_B" in name for name in learner.policy.parameters):
            raise ConfigError("orthogonal needs an adapter of lora_A and lora_B alone.")
        if min(ranks) < len(stages):
            raise ConfigError(
                f"lora.r is {min(ranks)} and there are {len(stages)} stages; orthogonal gives each "
                f"at least one rank. Set lora.r to {len(stages)} or more, best a multiple."
            )
        if learner.config.weight_decay:
            raise ConfigError(
                "grpo.weight_decay would shrink what earlier stages have learnt; orthogonal keeps "
                "it as it is. Remove the key."
            )
        self._stages = len(stages)

    def _rows(self, rank: int, stage: int) -> slice:
        """Return the ranks of a stage, counted from 1."""
        return slice(rank * (stage - 1) // self._stages, rank * stage // self._stages)

    def enter(self, context: StageContext, resumed: bool) -> None:
        self._stage = context.number
        for name, parameter in context.policy.parameters.items():
            axis = 0 if "lora_A" in name else 1
            own = parameter.new_zeros(parameter.shape[axis])
            own[self._rows(len(own), context.number)] = 1
            mask = own[:, None] if axis == 0 else own
            self._held.append(parameter.register_hook(lambda grad, mask=mask: grad * mask))

    def leave(self, context: StageContext) -> None:
        while self._held:
            self._held.pop().remove()

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        if self._stage < 2:
            return
        for name, parameter in learner.policy.parameters.items():
            if "lora_A" in name:
                own = self._rows(len(parameter), self._stage)
                before = parameter[: own.start].detach()
                yield self.config.strength * (before @ parameter[own].T).abs().sum()


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("orthogonal", Orthogonal)
