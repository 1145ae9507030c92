"""The strategy `frozen`: no training at all, the model as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import contrail

if TYPE_CHECKING:
    from contrail.stream import Experience


class Frozen(contrail.Strategy):
    """The stages of the stream without their updates: what no training does."""

    alone = "it trains nothing"

    def stages(self, experiences: Sequence[Experience]) -> list[Experience]:
        from contrail.stream import Experience  # heavy: not before it is needed

        return [Experience(stage.name, stage.tasks, stage.adapters, 0) for stage in experiences]

    def prefix(self, stage: int) -> str:
        return "frozen"


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("frozen", Frozen)
