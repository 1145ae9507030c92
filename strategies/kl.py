"""The strategy `kl`: the policy stays near the one at the beginning of the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import contrail
from contrail import ConfigError
from contrail.strategies._shared import Anchored, refuse_without_advantages

if TYPE_CHECKING:
    from contrail import Learner, Stage, StageContext


@dataclass
class KLConfig:
    """The keys of kl in stream.yaml."""

    beta: float = field(default=0.1, metadata={"min": 0})
    """The weight of the divergence, like `grpo.beta`."""


class KL(Anchored):
    """GRPO's KL term (arXiv:2402.03300), against the policy of the previous stage.

    It is estimated on the episodes of the present stage, so it only holds the old policy in states
    of the present environment. The first stage has no such term.
    """

    Config = KLConfig

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        if learner.config.beta:
            raise ConfigError(
                f"grpo.beta is {learner.config.beta}, a KL term against the base model; the "
                "strategy kl takes its place. Remove grpo.beta."
            )
        refuse_without_advantages("kl", stages)

    def enter(self, context: StageContext, resumed: bool) -> None:
        super().enter(context, resumed)
        if context.number > 1:
            context.learner.anchor(self._anchor, self.config.beta)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("kl", KL)
