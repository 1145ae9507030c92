"""What a stage has cost the environments before it, at the same score on its own environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrail.comparison.gather import Row
from contrail.intervals import Array, Estimate, seeds_interval

FORMULA = (
    "old(0) - old(t*), where old(t) is the mean success on earlier environments after t updates of "
    "the stage, and t* is the first t at which the strategy's mean new(t), success on the stage's "
    "own environment, reaches the level; the level is the smallest of the strategies' largest "
    "mean new(t)"
)

ROUNDING = 1e-9
"""Scores that differ by less are equal: means over seeds are rounded."""


def tradeoffs(rows: Sequence[Row], orders: Sequence[Any]) -> list[dict[str, Any]]:
    """Return, for each stage that has environments before it, what each strategy forgot by the time
    when its score on the stage's own environment had reached a common level, as JSON values.

    Only seeds that all of them have are compared. Strategies learn at different speeds: at the
    end of a stage, one that has learnt less has often forgotten less. Here they are compared
    where they have learnt the same (`FORMULA`). Points between evaluations are interpolated
    linearly. Intervals are Student's t over seeds. Strategies whose score never rises above
    that at the start are `left_out`; those that begin the stage at the level or above it,
    because of earlier stages, are `above`; of `lost` ones some runs, so many, have lost an
    evaluation to faults; those without learning curves (`evaluate.every`) are not named.
    """
    found = []
    for place, order in enumerate(orders):
        own = [row for row in rows if row.order == order and not row.result.get("restarts")]
        for stage in range(1, len(order)):
            curves: dict[str, dict[int, Array]] = {}
            lost: dict[str, int] = {}
            for row in own:
                curve = _curve(row.result, stage)
                if curve is None:
                    continue
                if np.isnan(curve).any():  # an evaluation was lost to faults
                    lost[row.strategy] = lost.get(row.strategy, 0) + 1
                curves.setdefault(row.strategy, {})[row.seed] = curve
            whole = {label: of for label, of in curves.items() if label not in lost}
            # Seeds begin the stage at different scores.
            seeds = set.intersection(*(set(of) for of in whole.values())) if whole else set()
            if seeds:
                alike = {label: [of[seed] for seed in sorted(seeds)] for label, of in whole.items()}
                found.append({"order": place, "stage": stage, **_at_one_level(alike), "lost": lost})
    return found


def _curve(result: Mapping[str, Any], stage: int) -> Array | None:
    """Return (points, 3): updates, and mean success on the stage's own and on earlier environments.

    None if the run has no such stage, or no evaluations within it.
    """
    first = int(bool(result.get("warmup")))
    stage += first
    if stage >= len(result["own"]) or not result["curves"][stage]:
        return None
    new = set(result["own"][stage])
    old = {name for names in result["own"][first:stage] for name in names} - new
    curves = result["curves"][stage]
    if not new or not old or not curves.keys() >= new | old:
        return None
    points = {name: np.array(curves[name], dtype=np.float64) for name in sorted(new | old)}
    updates = points[min(new)][:, 0]
    means = [np.mean([points[name][:, 1] for name in sorted(part)], axis=0) for part in (new, old)]
    table = np.column_stack([updates, *means])
    return table if len(updates) > 1 else None


def _at_one_level(curves: Mapping[str, list[Array]]) -> dict[str, Any]:
    """Return each strategy's mean curve, and what it forgot at the common level.

    Args:
        curves: by strategy, one curve (points, 3) per seed; all of one length.
    """
    means = {label: np.mean(own, axis=0) for label, own in curves.items()}
    learning = {
        label: mean for label, mean in means.items() if mean[:, 1].max() > mean[0, 1] + ROUNDING
    }
    level = min((float(mean[:, 1].max()) for mean in learning.values()), default=0.0)
    above = [label for label, mean in learning.items() if mean[0, 1] >= level - ROUNDING]
    forgot = {}
    for label, mean in learning.items():
        if label in above:
            continue
        at = _first_reached(mean[:, 0], mean[:, 1], level)
        values = [own[0, 2] - np.interp(at, own[:, 0], own[:, 2]) for own in curves[label]]
        estimate = seeds_interval(
            [Estimate(float(value), None) for value in values], bounds=(-1.0, 1.0)
        )
        forgot[label] = {
            "updates": at,
            "forgotten": estimate.value,
            "interval": estimate.interval,
            "values": [float(value) for value in values],
        }
    return {
        "level": level if learning else None,
        "strategies": forgot,
        "left_out": [label for label in curves if label not in learning],
        "above": above,
        "curves": {label: mean.tolist() for label, mean in means.items()},
    }


def _first_reached(at: Array, score: Array, level: float) -> float:
    """Return the first time at which a piecewise linear score is at the level; it begins below and
    gets there."""
    index = int(np.argmax(score >= level - ROUNDING))
    share = (level - score[index - 1]) / (score[index] - score[index - 1])
    return float(at[index - 1] + min(1.0, share) * (at[index] - at[index - 1]))
