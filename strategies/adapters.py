"""The strategy `adapters`: a LoRA per environment, chosen by the environment's name in the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import contrail

if TYPE_CHECKING:
    import torch

    from contrail import Learner, Policy, Stage, StageContext


Snapshot = dict[str, "torch.Tensor"]


class Adapters(contrail.Strategy):
    """Each stage trains the LoRA of its environment, a fresh one the first time.

    An environment is evaluated with the LoRA of its last stage; an environment without a stage,
    with the base model. So nothing is forgotten, and nothing is transferred. `checkpoints/NNN`
    holds the LoRA of stage NNN.
    """

    exclusive = "every environment has a LoRA of its own, so nothing is there to protect"
    starts_at = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._of: dict[str, Snapshot] = {}

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._fresh = learner.policy.snapshot()

    def enter(self, context: StageContext, resumed: bool) -> None:
        if not resumed:
            environment = context.stage.environments[0]
            context.policy.load(self._of.get(environment, self._fresh))

    def leave(self, context: StageContext) -> None:
        learnt = context.policy.snapshot()
        self._of.update(dict.fromkeys(context.stage.environments, learnt))

    def evaluating(self, policy: Policy, environment: str) -> AbstractContextManager[None]:
        return policy.using(self._of.get(environment, self._fresh))

    def state_dict(self) -> dict[str, Any]:
        return {"of": self._of} if self._of else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._of = state.get("of", {})


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("adapters", Adapters)
