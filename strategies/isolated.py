"""The strategy `isolated`: each stage alone, from the model before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import contrail

if TYPE_CHECKING:
    from contrail import Learner, Stage, StageContext


class Isolated(contrail.Strategy):
    """Rows 1 to T of R are the rows of the transfer matrix (arXiv:2603.12011): after training on
    one environment alone, the score on each."""

    restarts = True
    starts_at = 2
    exclusive = "every stage begins with the base model, so nothing is there to protect"

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._fresh = learner.policy.snapshot()

    def enter(self, context: StageContext, resumed: bool) -> None:
        if not resumed:
            context.policy.load(self._fresh)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("isolated", Isolated)
