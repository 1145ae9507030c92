"""Results whose scores are known exactly, for tests of metrics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from contrail.metrics.transfer import METRICS, TaskScores


def results(R: Any, trained: Sequence[Collection[Any]] = (), tasks: int = 2) -> TaskScores:
    """Every task of an environment has the score of its cell in R; column j is named str(j)."""
    rows = np.array(R, dtype=np.float64)
    named = [[str(j) for j in sorted(stage)] for stage in trained]
    scores = {str(j): np.repeat(rows[:, j : j + 1], tasks, axis=1) for j in range(rows.shape[1])}
    return TaskScores(scores, named, named)


def metric_value(name: str, R: Any, trained: Sequence[Collection[Any]] = ()) -> float | None:
    """One metric of R."""
    return METRICS[name](results(R, trained)).value


def summary(R: Any, trained: Sequence[Collection[Any]] = ()) -> dict[str, float | None]:
    """All metrics of R."""
    return {name: metric_value(name, R, trained) for name in METRICS}
