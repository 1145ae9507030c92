"""The strategy `adapters`: a LoRA per environment, chosen by the environment's name in the test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import contrail

if TYPE_CHECKING:
    import torch

    from contrail import Policy, StageContext


Snapshot = dict[str, "torch.Tensor"]


class Adapters(contrail.Strategy):
    """Each stage trains the LoRA of its environment, a fresh one the first time.

    An environment is evaluated with the LoRA of its last stage; an environment without a stage,
    with the policy before the first one. So nothing is forgotten, and nothing is transferred.
    `checkpoints/NNN` holds the LoRA of stage NNN.
    """

    exclusive = "every environment has a LoRA of its own, so nothing is there to protect"
    starts_at = 1

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._fresh: Snapshot = {}
        self._of: dict[str, Snapshot] = {}
        self._own: list[str] = []  # environments whose LoRA is the policy's own

    def enter(self, context: StageContext, resumed: bool) -> None:
        if not resumed:
            self._fresh = self._fresh or context.policy.snapshot()
            self._own = list(context.stage.environments)
            context.policy.load(self._of.get(self._own[0], self._fresh))

    def leave(self, context: StageContext) -> None:
        self._of.update(dict.fromkeys(self._own, context.policy.snapshot()))

    def evaluating(self, policy: Policy, environment: str) -> AbstractContextManager[None]:
        if environment in self._own or not self._fresh:
            return nullcontext()
        return policy.using(self._of.get(environment, self._fresh))

    def state_dict(self) -> dict[str, Any]:
        if not self._fresh:
            return {}
        return {"fresh": self._fresh, "of": self._of, "own": self._own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and "fresh" not in state:
            raise contrail.ConfigError(
                "an earlier version of contrail has made this run of adapters"
            )
        self._fresh, self._of = state.get("fresh", {}), state.get("of", {})
        self._own = state.get("own", [])


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("adapters", Adapters)
