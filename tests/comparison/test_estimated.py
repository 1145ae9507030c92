"""Estimates of a quantity over seeds, and over tasks and seeds."""

from __future__ import annotations

import numpy
from compared import row

from contrail.comparison.estimate import Quantity, compared, estimated, of_runs
from contrail.metrics.transfer import Part


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


def test_an_undefined_value_of_a_seed_makes_the_mean_undefined() -> None:
    """As of a metric that is a mean over tasks; a seed without a run does not count."""
    rows = [row("one", [[0.4, 0.3, 0.2]] * 3, seed=seed) for seed in range(3)]
    values: list[float | None] = [0.1, None, 0.2]

    def quantity(known: list[float | None]) -> Quantity:
        return of_runs(rows, [rows[0].order], lambda one: known[one.seed])

    found = estimated(quantity(values))
    assert (found["mean"], found["interval"], found["seeds"]) == (None, None, 3)
    assert found["values"] == values
    assert not quantity(values).defined
    difference = estimated(compared(quantity([0.3, 0.2, 0.1]), quantity(values)))
    assert difference["mean"] is None
    assert estimated(quantity([None, None, None]))["seeds"] == 0
    assert estimated(of_runs(rows[:2], [rows[0].order], lambda one: 0.5))["mean"] == 0.5
