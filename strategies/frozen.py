"""The strategy `frozen`: no training at all, the model as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import contrail

if TYPE_CHECKING:
    from contrail import Stage


class Frozen(contrail.Strategy):
    """No training: the stages of the stream without their updates."""

    exclusive = "it trains nothing"
    starts_at = 1

    def stages(self, stages: Sequence[Stage]) -> list[Stage]:
        return [
            contrail.Stage(stage.name, stage.tasks, stage.adapters, 0, stage.objective)
            for stage in stages
        ]


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("frozen", Frozen)
