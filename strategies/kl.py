"""The strategy `kl`: the policy stays near what it was when the stage began."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail
from contrail.errors import ConfigError

if TYPE_CHECKING:
    from contrail.stage import Stage
    from contrail.training.learner import Learner


@dataclass
class KLConfig:
    """`beta`: the weight of the divergence, as `grpo.beta` is."""

    beta: float = field(default=0.1, metadata={"min": 0})


class KL(contrail.Strategy):
    """GRPO's KL term (arXiv:2402.03300), against the policy of the previous stage.

    It is estimated on what the present stage plays, so it binds the old policy only where the
    present environment leads. The first stage has none.
    """

    Config = KLConfig

    def begin(self, trainer: Learner, stages: Sequence[Stage]) -> None:
        if trainer.config.beta:
            raise ConfigError(
                f"grpo.beta is {trainer.config.beta}, a KL term against the base model; the "
                "strategy kl takes its place. Remove grpo.beta."
            )

    def cache_key(self, stage: int) -> str:
        return "sequential" if stage == 1 else f"kl {self.config}"

    def before_training_exp(self, loop: Any) -> None:
        if loop.stage > 1:
            loop.trainer.anchor(loop.policy.snapshot(), self.config.beta)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("kl", KL)
