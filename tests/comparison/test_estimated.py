"""Estimates of a quantity over seeds, and over tasks and seeds."""

from __future__ import annotations

import numpy

from contrail.comparison.estimate import Quantity, estimated
from contrail.metrics import Part


def test_columns_that_share_tasks_do_not_narrow_the_interval_over_tasks() -> None:
    """Two labels of one environment, with equal scores, say no more than one of them."""
    rng = numpy.random.default_rng(0)
    chances = rng.choice([0.02, 0.98], size=24)  # seeds agree, so that tasks decide
    scores = [(rng.random(24) < chances).astype(float) for _ in range(3)]

    def width(columns: str, group: str) -> float:
        made = Quantity(bounds=(0.0, 1.0))
        for seed, values in enumerate(scores):
            part = Part(values, difference=False, group=group)
            made.parts[seed] = {0: dict.fromkeys(columns, part)}
        low, high = estimated(made)["interval_tasks"]
        return float(high - low)

    assert width("ab", "a") >= width("a", "a") > 1.05 * width("ab", "")
