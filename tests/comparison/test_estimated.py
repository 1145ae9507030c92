"""Estimates of a quantity over seeds, and over tasks and seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pytest
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


def gains(counts: Sequence[Sequence[int]], tasks: int = 48) -> Quantity:
    """Of each seed, by environment, how many tasks an order that is over it alone has gained."""
    made = Quantity(orders=len(counts[0]))
    for seed, of_seed in enumerate(counts):
        made.parts[seed] = {
            order: {"abc"[order]: Part(numpy.repeat([1.0, 0.0], [count, tasks - count]))}
            for order, count in enumerate(of_seed)
        }
    return made


def test_orders_over_other_environments_have_the_noise_of_their_tasks() -> None:
    """Seeds that agree by chance, up to one task, say little more than those that agree at all."""
    equal, almost = (estimated(gains([(7, 7, 7)] * 2 + [last])) for last in ((7, 7, 7), (8, 7, 7)))
    assert equal["interval"][0] < almost["interval"][0] < almost["mean"] - 0.03
    assert almost["mean"] + 0.03 < almost["interval"][1] < equal["interval"][1]
    low, high = almost["noise"]
    assert (low, high) == pytest.approx(almost["interval"])
    assert almost["interval_tasks"][0] <= low
    assert high <= almost["interval_tasks"][1]


def test_an_environment_counts_as_often_as_orders_are_over_it() -> None:
    """Of a, and of a and b: the mean is (a + (a + b) / 2) / 2 in seeds and in their tasks."""
    rng = numpy.random.default_rng(0)
    made = Quantity(orders=2)
    for seed in range(3):
        a, b = (Part(rng.choice([-1.0, 0.0, 1.0], size=400)) for _ in "ab")
        made.parts[seed] = {0: {"a": a}, 1: {"a": a, "b": b}}
    together = made.together()
    assert together.value == pytest.approx(estimated(made)["mean"])
    half = 1.96 * (2 / 3 / 1200) ** 0.5 * numpy.hypot(0.75, 0.25)
    assert together.interval == pytest.approx(
        [together.value - half, together.value + half], abs=0.1 * half
    )


def test_where_nothing_changes_the_interval_over_orders_holds_0() -> None:
    rng = numpy.random.default_rng(0)
    held = {"interval": 0, "interval_tasks": 0}
    for _ in range(400):
        made = Quantity(orders=2)
        chances = {name: rng.beta(0.5, 0.5, size=32) for name in "ab"}
        for seed in range(3):
            made.parts[seed] = {
                order: {name: Part((rng.random(32) < p) * 1.0 - (rng.random(32) < p))}
                for order, (name, p) in enumerate(chances.items())
            }
        found = estimated(made)
        for name in held:
            low, high = found[name]
            held[name] += low <= 0 <= high
    assert held["interval"] / 400 > 0.95
    assert held["interval_tasks"] >= held["interval"]


def test_seeds_with_other_numbers_of_tasks_have_noise_too() -> None:
    """As a share of failed episodes: their number depends on the seed."""

    def width(numbers: Sequence[int]) -> float:
        made = Quantity(bounds=(0.0, 1.0))
        for seed, (number, count) in enumerate(zip(numbers, (10, 11, 10), strict=True)):
            values = numpy.repeat([1.0, 0.0], [count, number - count])
            made.parts[seed] = {0: {"a": Part(values, difference=False)}}
        low, high = estimated(made)["interval"]
        return float(high - low)

    assert width((20, 21, 20)) == pytest.approx(width((20, 20, 20)), rel=0.1)


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
