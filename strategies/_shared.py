"""What several strategies share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import contrail
from contrail import ConfigError

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Episode, Stage, StageContext

K = TypeVar("K", bound=Hashable)


def refuse_without_advantages(strategy: str, stages: Sequence[Stage]) -> None:
    """Refuse a stage on which a KL term or a bonus would have no effect.

    Raises:
        ConfigError: a stage after the first learns by something else than advantages.
    """
    for stage in stages[1:]:
        if stage.objective is not None and not stage.objective.has_advantages:
            raise ConfigError(
                f"{strategy} acts on advantages, and the stage {stage.name!r} learns without them, "
                f"so {strategy} would do nothing there. Learn by grpo or gigpo, or use another "
                "strategy."
            )


class Anchored(contrail.Strategy):
    """A strategy that keeps, during a stage, the LoRA with which the stage began.

    The first stage has none: nothing has been learnt yet.
    """

    starts_at = 2

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._anchor: dict[str, torch.Tensor] = {}

    def enter(self, context: StageContext, resumed: bool) -> None:
        if context.number > 1 and not resumed:
            self._anchor = context.policy.snapshot()

    def leave(self, context: StageContext) -> None:
        self._anchor = {}

    def state_dict(self) -> dict[str, Any]:
        return {"anchor": self._anchor} if self._anchor else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._anchor = state["anchor"]


def on_average(count: float, rng: numpy.random.Generator) -> int:
    """Return a whole number that is `count` on average: half a task is one in every second
    update."""
    whole = int(count)
    return whole + (whole < count and rng.random() < count - whole)


def success_by(key: Callable[[Episode], K], episodes: Sequence[Episode]) -> dict[K, float]:
    """Return the mean success of the policy's episodes without a fault, by a key of theirs.

    Demonstrations do not count: they say nothing of what the policy can do.
    """
    found: dict[K, list[bool]] = {}
    for episode in episodes:
        if episode.fault is None and not episode.demonstrated:
            found.setdefault(key(episode), []).append(episode.success)
    return {name: sum(wins) / len(wins) for name, wins in found.items()}


def environment_and_task(episode: Episode) -> tuple[str, str]:
    """Return the names by which a task is known in a run."""
    return episode.environment, episode.task.id
