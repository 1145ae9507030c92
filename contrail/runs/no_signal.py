"""Updates that taught nothing, because no episode of them had a weight: how many, and what to do.

GRPO compares the episodes of a group: where the rewards of each group are equal, there is nothing
to learn from. Nor is there where a teacher decides exactly as the policy does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from contrail.episode import Episode
from contrail.training.distillation import Distillation
from contrail.training.objective import Objective

Kind = Literal["failed", "solved", "mixed", "demonstrated", "agreed", "unweighted", "faults"]

ADVICE: dict[Kind, str] = {
    "failed": "every episode failed. Begin with easier tasks (`train` of the stage, or the "
    "strategy `curriculum`), imitate an expert first (`warmup`), play each task more often "
    "(grpo.num_generations), or reward partial progress",
    "solved": "every episode succeeded. The model can do these tasks already: train on harder ones "
    "(`train` of the stage)",
    "mixed": "the episodes of each task all had the same reward. Play each task more often "
    "(grpo.num_generations), sample more diversely (grpo.temperature), or put more tasks into an "
    "update (grpo.generation_batch_size)",
    "demonstrated": "no demonstration could be learnt from. `contrail check` says whether the "
    "environment's expert works",
    "agreed": "the policy decides exactly as its teachers do, or they were shown no episode. Name "
    "other teachers, or look at what the update logs",
    "unweighted": "the objective gave no episode a weight, or its loss had no gradient. Look at "
    "what its `weights` and `loss` return",
    "faults": "every episode was lost to a fault of its environment, or had no turn",
}


def kind_of(episodes: Sequence[Episode], objective: Objective) -> Kind:
    """Return why the episodes of an update taught nothing by an objective."""
    played = [episode for episode in episodes if episode.fault is None and episode.turns]
    if not played:
        return "faults"
    if all(episode.demonstrated for episode in played):
        return "demonstrated"
    if not objective.has_advantages:
        return "agreed" if isinstance(objective, Distillation) else "unweighted"
    if not any(episode.success for episode in played):
        return "failed"
    return "solved" if all(episode.success for episode in played) else "mixed"


def advice(episodes: Sequence[Episode], objective: Objective) -> str:
    """Return why an update taught nothing, and what to do."""
    return f"nothing was learnt from this update: {ADVICE[kind_of(episodes, objective)]}"


def speed(episodes: Sequence[Episode], seconds: float) -> dict[str, float]:
    """Return the number of tokens per second that the model wrote, if it played."""
    tokens = sum(item.generated_tokens for item in episodes if not item.demonstrated)
    return {"tokens_per_second": tokens / seconds} if tokens and seconds > 0 else {}


def summary(made: Sequence[int], counts: Sequence[Mapping[Kind, int]]) -> list[dict[str, Any]]:
    """Return `no_signal` of result.json: for each stage, the updates that taught nothing.

    Args:
        made: by stage, the number of all updates.
        counts: by stage, the number of these updates by kind.
    """
    return [
        {
            "updates": sum(stage.values()),
            "made": updates,
            "kinds": dict(stage),
            "advice": ADVICE[max(stage, key=lambda kind: stage[kind])] if stage else None,
        }
        for updates, stage in zip(made, counts, strict=True)
    ]
