"""Several episodes of each test task: what they solve on average, and what one of k solves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from contrail.intervals import Score, score_interval

Outcomes = Mapping[str, Sequence[float | None]]
"""Task id -> 1 or 0 for each of its episodes, in the order of the samples; None for a fault."""


def pass_at(outcomes: Outcomes, k: int) -> list[Score]:
    """Return for each task the chance that at least one of k episodes solves it.

    Of n episodes with c solved the unbiased estimate is 1 - C(n - c, k) / C(n, k) (Chen et al.,
    arXiv:2107.03374). Faults are no episodes; a task with fewer than k others has no estimate.
    """
    found: list[Score] = []
    for values in outcomes.values():
        known = [value for value in values if value is not None]
        n, c = len(known), sum(value > 0 for value in known)
        found.append(1 - comb(n - c, k) / comb(n, k) if n >= k else None)
    return found


def repeated(outcomes: Outcomes) -> dict[str, Any]:
    """Return avg@n and pass@k for n, the samples, and the powers of two below; as JSON values.

    Each has its interval over tasks and the number of `tasks` that it is of.
    """
    n = max((len(values) for values in outcomes.values()), default=0)
    if n < 2:
        return {}
    ks = [*(2**power for power in range(n.bit_length()) if 2**power < n), n]
    means = [_mean([item for item in values if item is not None]) for values in outcomes.values()]
    return {
        "avg_at": {str(n): _estimate(means)},
        "pass_at": {str(k): _estimate(pass_at(outcomes, k)) for k in ks},
    }


def _mean(values: Sequence[float]) -> Score:
    return sum(values) / len(values) if values else None


def _estimate(values: Sequence[Score]) -> dict[str, Any]:
    found = score_interval([value for value in values if value is not None])
    return {"value": found.value, "interval": found.interval, "tasks": found.count}
