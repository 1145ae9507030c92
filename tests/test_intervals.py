"""Intervals hold the truth as often as they say: of cells, changes, seeds, and tasks and seeds."""

import math

import numpy as np
import pytest

from benchmarks import coverage
from contrail import intervals
from contrail.intervals import Estimate

NAN = math.nan


@pytest.mark.parametrize("kind", [coverage.cells, coverage.changes])
def test_intervals_of_one_run_hold_the_truth(kind):
    """Exact coverage at chances from 0.02 to 0.98 and 8 to 64 tasks."""
    found = list(kind((8, 16, 32, 64)))
    assert min(item.held for item in found) >= 0.93, min(found, key=lambda item: item.held)
    # They are not simply wide: beyond a few tasks, and where more than a few of them change.
    enough = [item for item in found if item.tasks >= 32 and abs(item.truth) >= 0.05]
    assert np.mean([item.held for item in enough]) < 0.98


def test_intervals_over_seeds_hold_the_truth():
    """Training seeds that differ by 0.05 or, near the edges, by half of the distance to them."""
    repeats = 300
    found = list(coverage.over_seeds(repeats, (8, 64), (2, 3, 10)))
    error = math.sqrt(0.95 * 0.05 / repeats)
    assert min(item.held for item in found) >= 0.93 - 3 * error
    for kind in ("success", "change", "strategies", "tasks and seeds"):
        many = [item.held for item in found if item.kind == kind and item.tasks * item.seeds > 600]
        assert 0.94 <= np.mean(many) <= 0.985, kind


def test_the_interval_of_drift_holds_the_truth_where_tasks_differ_much():
    repeats = 500
    error = math.sqrt(0.95 * 0.05 / repeats)
    for found in coverage.drifts(repeats, (16, 64)):
        least = 0.88 if "log-normal" in found.kind else 0.93
        assert least - 3 * error <= found.held <= 0.985 + error, found


def test_the_best_of_equals_is_not_told_from_the_worst():
    """Also where one strategy scatters more than the others."""
    repeats = 300
    error = math.sqrt(0.95 * 0.05 / repeats)
    for found in coverage.of_extremes(repeats, (3, 10)):
        _, _, greatest, between = found
        assert min(greatest, between) >= 0.93 - 3 * error, found


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.0, NAN], [0.0, 0.0]), ([2.0, 2.0], [2.0, 2.0]), ([1.0], None), ([], None)],
)
def test_the_interval_of_drift_where_tasks_agree(values, expected):
    assert intervals.positive_mean_interval(values).interval == expected


def test_seeds_without_dice_of_their_own_would_not():
    """What the common dice of all seeds did: the noise of evaluation was left out."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        dice = rng.random(32)
        runs = [(dice < 0.5 + rng.normal(0, 0.05)).astype(float) for _ in range(10)]
        means = [Estimate(float(run.mean()), None) for run in runs]
        low, high = intervals.seeds_interval(means).interval or [NAN, NAN]
        held += low <= 0.5 <= high
    assert held / 300 < 0.6


def test_no_interval_is_without_width():
    solved, same = intervals.score_interval([1.0] * 32), intervals.difference_interval([0.0] * 32)
    assert solved.value == 1.0
    assert solved.interval == pytest.approx([0.88, 1.0], abs=0.02)
    assert same.value == 0.0
    assert same.interval == pytest.approx([-0.08, 0.08], abs=0.01)
    agreeing = intervals.seeds_interval([solved] * 10)
    assert agreeing.value == 1.0
    assert agreeing.interval == pytest.approx(solved.interval)


@pytest.mark.parametrize(("gained", "lost"), [(4, 0), (5, 0), (5, 1), (3, 0)])
def test_what_the_exact_test_does_not_tell_from_0_has_0_in_its_interval(gained, lost):
    """Exact p of McNemar's test: .125, .0625, .22, .25 (they printed as gains before)."""
    changes = [1.0] * gained + [-1.0] * lost + [0.0] * (32 - gained - lost)
    low, high = intervals.difference_interval(changes).interval
    assert low <= 0 <= high


def test_a_clear_change_excludes_0():
    low, _ = intervals.difference_interval([1.0] * 7 + [0.0] * 25).interval
    assert low > 0  # exact p .016


def test_tasks_without_a_score_are_left_out():
    assert intervals.score_interval([1.0, NAN, 0.0]) == intervals.score_interval([1.0, 0.0])
    assert intervals.score_interval([1.0, NAN]) == Estimate(1.0, None, 1)
    assert intervals.difference_interval([NAN]) == Estimate(None, None, 0)


def test_a_mean_of_independent_estimates():
    parts = [Estimate(0.2, [0.1, 0.5]), Estimate(0.6, [0.2, 0.7])]
    found = intervals.mean_of(parts)
    assert found.value == pytest.approx(0.4)
    assert found.interval == pytest.approx(
        [0.4 - math.hypot(0.1, 0.4) / 2, 0.4 + math.hypot(0.3, 0.1) / 2]
    )
    assert intervals.mean_of([*parts, Estimate(None, None)]).value is None
    assert intervals.mean_of([]).value is None


def test_students_interval_over_seeds():
    # With n = 3 the 97.5% point of Student's t is 4.302653.
    runs = [Estimate(value, [value - 0.01, value + 0.01]) for value in (0.1, 0.2, 0.3)]
    found = intervals.seeds_interval(runs)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (found.value, *found.interval) == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    assert intervals.seeds_interval(runs, bounds=(0.0, 1.0)).interval[0] == 0.0
    assert intervals.seeds_interval(runs[:1]).interval is None
    assert intervals.seeds_interval([]).value is None
    assert intervals.seeds_interval([*runs, Estimate(None, None)]).value is None


def test_sign_flips():
    rng = np.random.default_rng(0)
    assert intervals.sign_flip_p([0.1, 0.2, 0.3], rng) == pytest.approx(2 / 8)
    assert intervals.sign_flip_p([0.1, 0.2, 0.3, 0.1, 0.2, 0.4], rng) == pytest.approx(2 / 64)
    assert intervals.sign_flip_p([0.0, 0.0, 0.0], rng) == 1.0
    assert intervals.sign_flip_p([0.1], rng) is None
    small = sum(intervals.sign_flip_p(rng.normal(size=6), rng) <= 0.05 for _ in range(400))
    assert small / 400 <= 0.08


def test_the_number_of_seeds_for_a_small_difference():
    rng = np.random.default_rng(0)
    needed = intervals.seeds_needed(rng.normal(0, 0.1, 2000))
    assert 16 <= needed <= 20  # t(n - 1) * 0.1 / sqrt(n) <= 0.05
    assert intervals.seeds_needed([0.1]) is None
    # Seeds that agree have the noise of their tasks still: +-0.1 now takes four times as many.
    assert intervals.seeds_needed([0.1, 0.1], [0.0, 0.2]) == 8


def test_labels_that_share_tasks_are_no_independent_estimates():
    part = intervals.score_interval([1.0] * 16 + [0.0] * 16)
    assert intervals.mean_of([part, part], ["a", "a"]).interval == pytest.approx(part.interval)
    low, high = intervals.mean_of([part, part]).interval
    assert low > part.interval[0] + 0.03
    assert high < part.interval[1] - 0.03


def test_a_change_cannot_leave_its_range():
    assert intervals.difference_interval([1.0] * 8).interval[1] == 1.0


def test_labels_that_share_tasks_do_not_narrow_the_interval_over_tasks_and_seeds():
    """Two versions of one environment, each task as hard behind one interface as behind another."""
    rng = np.random.default_rng(0)
    held = alone = 0
    for _ in range(300):
        chances = rng.choice([0.1, 0.9], size=24)  # of other tasks half are hard
        one, other = (np.mean([rng.random((3, 24)) < chances], axis=0) for _ in range(2))
        parts = [(one, False), (other, False)]
        low, high = intervals.tasks_and_seeds_interval(parts, ["a", "a"]) or [NAN, NAN]
        held += low <= 0.5 <= high
        low, high = intervals.tasks_and_seeds_interval(parts) or [NAN, NAN]
        alone += low <= 0.5 <= high
    assert held >= 0.92 * 300
    assert alone < 0.9 * 300  # what this is needed for
