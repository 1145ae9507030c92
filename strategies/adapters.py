"""The strategy `adapters`: a LoRA for each environment, which the test is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import contrail

if TYPE_CHECKING:
    import torch

    from contrail.stage import Stage
    from contrail.training.learner import Learner

Snapshot = dict[str, "torch.Tensor"]


class Adapters(contrail.Strategy):
    """Each stage trains the LoRA of its environment, from a fresh one the first time.

    An environment is evaluated with the LoRA of its last stage, one that had none with the base
    model: nothing can be forgotten, and nothing is transferred. `checkpoints/NNN` holds the LoRA
    of stage NNN.
    """

    exclusive = "every environment has a LoRA of its own, so nothing is there to protect"

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._of: dict[str, Snapshot] = {}

    def begin(self, trainer: Learner, stages: Sequence[Stage]) -> None:
        self._fresh = trainer.policy.snapshot()

    def before_training_exp(self, loop: Any) -> None:
        environment = loop.experience.environments[0]
        loop.policy.load(self._of.get(environment, self._fresh))

    def after_training_exp(self, loop: Any) -> None:
        self._of.update(dict.fromkeys(loop.experience.environments, loop.policy.snapshot()))

    def before_eval_exp(self, loop: Any) -> None:
        self._last = loop.policy.snapshot()
        loop.policy.load(self._of.get(loop.experience.name, self._fresh))

    def after_eval_exp(self, loop: Any) -> None:
        loop.policy.load(self._last)

    def cache_key(self, stage: int) -> str:
        return "adapters"

    def state_dict(self) -> dict[str, Any]:
        return {"of": self._of} if self._of else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._of = state["of"]


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("adapters", Adapters)
