"""Interface reliance: the success that an environment loses when only its interface changes.

A run that evaluates an environment twice, as it is and with a `shift`, has both scores of every
test task. Their difference is paired by task, and by the dice of the evaluation. After
arXiv:2602.01611, whose own measure of it is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from contrail.intervals import UNDEFINED, Array, Estimate, difference_interval, mean_of
from contrail.metrics.task_scores import TaskScores

FORMULA = "mean of R[T][original] - R[T][alias] over environments evaluated with an alias"


def reliance(results: TaskScores, originals: Mapping[str, str]) -> dict[str, Any]:
    """Return what each shifted column lost against its original, by row of R, as JSON values.

    Args:
        results: of the run.
        originals: shifted column -> the same environment without the shift.
    """
    found = {}
    for name, original in originals.items():
        rows = [difference_interval(row) for row in _lost(results, name, original)]
        found[name] = {
            "original": original,
            "value": [row.value for row in rows],
            "interval": [row.interval for row in rows],
            "tasks": [row.count for row in rows],
        }
    return found


def at_the_end(results: TaskScores, originals: Mapping[str, str], names: Iterable[str]) -> Estimate:
    """Return the mean of some shifted columns' losses after the last stage."""
    chosen = [name for name in names if name in originals]
    if not chosen:
        return UNDEFINED
    last = [difference_interval(_lost(results, name, originals[name])[-1]) for name in chosen]
    return mean_of(last, [results.group(name) for name in chosen])


def _lost(results: TaskScores, name: str, original: str) -> Array:
    """Return (T + 1, tasks): the original's score less the column's, of the tasks of both."""
    places = {task: place for place, task in enumerate(results.tasks[original])}
    pairs = [(places[task], i) for i, task in enumerate(results.tasks[name]) if task in places]
    theirs, own = np.array(pairs, dtype=int).reshape(-1, 2).T
    lost: Array = results.scores[original][:, theirs] - results.scores[name][:, own]
    return lost
