"""Estimates of a quantity over seeds, and over tasks and seeds."""

from __future__ import annotations

import numpy
from compared import row

from contrail.comparison.estimate import Quantity, compared, estimated, of_runs, played
from contrail.metrics.transfer import Part
from contrail.plugins.metrics.episode import METRICS


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


def test_intervals_stay_within_what_can_be() -> None:
    one, other = (
        Quantity.of_values(dict(enumerate(values)), (0.0, 1.0)) for values in ([0.2, 0.9], [0.9, 0])
    )
    low, high = estimated(one)["interval"]
    assert (low, high) == (0.0, 1.0)
    low, high = estimated(compared(one, other))["interval"]
    assert (low, high) == (-1.0, 1.0)


def test_ranges_of_the_metrics_of_an_episode() -> None:
    """Two seeds that differ much: Student's t alone would go beyond each range."""
    rows = []
    for seed, scale in enumerate((0.1, 0.9)):
        rows.append(row("one", [[0.4, 0.3, 0.2]] * 3, seed=seed))
        for cell in rows[-1].result["evaluations"][-1].values():
            cell |= {"turns": 20 * scale, "fault_rate": scale, "odd": scale - 2}
    about = {metric.name: metric.about() for metric in METRICS}
    about["odd"] = {"least": 0.0, "most": 1.0}  # a plugin's, whose values are not what it said
    ways = played(rows, [rows[0].order], ["babyai"], about)["babyai"]
    assert estimated(ways["turns"])["interval"][0] == 0.0
    assert estimated(ways["turns"])["interval"][1] > 20
    assert estimated(ways["fault_rate"])["interval"] == [0.0, 1.0]
    low, high = estimated(ways["odd"])["interval"]
    assert low == -1.9
    assert high == 1.0
