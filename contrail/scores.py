"""How a policy did on the test tasks of one environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from contrail.episode import Episode


@dataclass(frozen=True)
class Scores:
    """How the policy did on one environment.

    `scores`: task id -> mean success over its samples, None where every sample was a fault. The
    rest are means over the episodes without a fault, None if there is none; `turns` and
    `generated_tokens` are per episode, `invalid_action_rate` per turn, `fault_rate` over all.
    """

    scores: dict[str, float | None]
    success: float | None
    reward: float | None
    turns: float | None
    generated_tokens: float | None
    invalid_action_rate: float | None
    fault_rate: float | None

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Scores:
        """Summarise all episodes of one environment."""
        by_task: dict[str, list[Episode]] = {}
        for episode in episodes:
            by_task.setdefault(episode.task.id, []).append(episode)
        scores = {
            task: _mean([float(item.success) for item in played if item.fault is None])
            for task, played in by_task.items()
        }
        sound = [episode for episode in episodes if episode.fault is None]
        turns = [turn for episode in sound for turn in episode.turns]
        return cls(
            scores=scores,
            success=_mean([score for score in scores.values() if score is not None]),
            reward=_mean([episode.reward for episode in sound]),
            turns=_mean([len(episode.turns) for episode in sound]),
            generated_tokens=_mean([episode.generated_tokens for episode in sound]),
            invalid_action_rate=_mean([float(not turn.valid) for turn in turns]),
            fault_rate=_mean([float(episode.fault is not None) for episode in episodes]),
        )

    def record(self) -> dict[str, Any]:
        """The same as JSON values; `Scores(**record)` reads it back."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """As JSON values, with the number of tasks."""
        return {**self.record(), "tasks": len(self.scores)}


def _mean(values: Sequence[float]) -> float | None:
    return float(numpy.mean(values)) if values else None
