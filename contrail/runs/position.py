"""Where a run stands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(\d{3,})(?:-(\d{5,}))?")


@dataclass(frozen=True, order=True)
class Position:
    """`stage` stages are over, their evaluation included, and `update` updates of the next one."""

    stage: int
    update: int = 0

    @property
    def name(self) -> str:
        """The name of its checkpoint: `002` after stage 2, `003-00007` within stage 3."""
        if not self.update:
            return f"{self.stage:03d}"
        return f"{self.stage + 1:03d}-{self.update:05d}"

    @classmethod
    def of(cls, name: str) -> Position | None:
        """Return the position of a checkpoint's name; None if it is no such name."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        stage, update = match.groups()
        return cls(int(stage)) if update is None else cls(int(stage) - 1, int(update))


def work(
    updates: Sequence[int], every: int | None, position: Position | None = None
) -> tuple[int, int]:
    """Return how many updates a run makes up to a position, and how often each environment is
    evaluated.

    Args:
        updates: of each stage.
        every: how many updates lie between two evaluations within a stage; None for no such.
        position: where the run stands; None for its end.
    """
    if position is None:
        position = Position(len(updates))
    whole = updates[: position.stage]
    evaluations = position.stage + 1
    if every is not None:
        evaluations += sum(1 + math.ceil(count / every) for count in whole if count)
        evaluations += math.ceil(position.update / every)
    return sum(whole) + position.update, evaluations
