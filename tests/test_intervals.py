"""Intervals: the bootstrap over tasks, Student's t over runs, and paired differences of both."""

import json
import math

import numpy as np
import pytest

from contrail import metrics

NAN = math.nan


def tasks_of(rng, stages=3, count=32):
    """0/1 scores of two environments, [T+1, tasks] each."""
    return [(rng.random((stages, count)) < 0.6).astype(float) for _ in range(2)]


def test_the_bootstrap_repeats_itself():
    scores = tasks_of(np.random.default_rng(0))
    first, second, other = (
        metrics.bootstrap(scores, [{0}, {1}], np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other
    named = dict(zip("ab", scores, strict=True))
    assert metrics.bootstrap(named, [{0}, {1}], np.random.default_rng(0)) == first


def test_bootstrap_shapes_and_order():
    scores = tasks_of(np.random.default_rng(0))
    R = [[float(s[i].mean()) for s in scores] for i in range(3)]
    found = metrics.bootstrap(scores, [{0}, {1}], np.random.default_rng(0))
    for i in range(3):
        for j in range(2):
            low, high = found.R[i][j]
            assert 0 <= low <= R[i][j] <= high <= 1
    assert found.change[0] == [[0.0, 0.0], [0.0, 0.0]]
    assert list(found.metrics) == list(metrics.METRICS)
    for name, value in metrics.summary(R, [{0}, {1}]).items():
        ends = found.metrics[name]
        assert (ends is None) == (value is None)
        assert ends is None or ends[0] <= value <= ends[1]
    json.dumps(vars(found), allow_nan=False)


def test_changes_are_paired():
    """Every task gains exactly 0.1: however tasks are drawn, the change is 0.1."""
    base = np.random.default_rng(0).uniform(size=32)
    found = metrics.bootstrap([np.stack([base, base + 0.1])], [{0}], np.random.default_rng(0))
    assert found.change[1][0] == pytest.approx([0.1, 0.1])
    low, high = found.R[1][0]
    assert high - low > 0.1


def test_tasks_without_a_score_are_left_out():
    scores = np.array([[1.0, 1.0, NAN, NAN], [NAN, NAN, NAN, 0.0], [NAN] * 4, [0.0, 1.0, 0.0, 1.0]])
    found = metrics.bootstrap([scores], [{0}, {0}, {0}], np.random.default_rng(0))
    assert found.R[0][0] == [1.0, 1.0]
    assert found.R[1][0] is None  # one task says nothing of how tasks vary
    assert found.R[2][0] is None
    assert found.change[1][0] is None
    assert found.metrics["delta_held_in"] is not None
    assert metrics.bootstrap([np.empty((2, 0))], [{0}], np.random.default_rng(0)).R == [
        [None],
        [None],
    ]


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        scores = (rng.random((1, 64)) < 0.4).astype(float)
        low, high = metrics.bootstrap([scores], [], rng, resamples=500).R[0][0]
        held += low <= 0.4 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_paired_difference():
    rng = np.random.default_rng(0)
    b = rng.uniform(size=64)
    mean, (low, high) = metrics.paired_difference(b + 0.2, b, np.random.default_rng(0))
    assert (mean, low, high) == pytest.approx((0.2, 0.2, 0.2))
    noisy = b + 0.2 + rng.normal(0, 0.1, 64)
    mean, (low, high) = metrics.paired_difference(noisy, b, np.random.default_rng(0))
    assert low < mean < high
    assert high - low < 0.1  # unpaired it would be about 0.2
    mean, ends = metrics.paired_difference([1.0, NAN, 0.0], [0.5, 1.0, NAN], rng)
    assert (mean, ends) == (0.5, None)
    assert metrics.paired_difference([NAN], [1.0], rng) == (None, None)
    with pytest.raises(ValueError, match="equal lengths"):
        metrics.paired_difference([1.0], [1.0, 0.0], rng)


def test_t_interval():
    # With n = 3 the 97.5% point of Student's t is 4.302653, with n = 2 it is 12.706205.
    mean, interval = metrics.t_interval([0.1, 0.2, 0.3])
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (mean, *interval) == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    mean, interval = metrics.t_interval([0.4, 0.6])
    assert (mean, *interval) == pytest.approx((0.5, 0.5 - 1.2706205, 0.5 + 1.2706205))
    assert metrics.t_interval([0.5]) == (0.5, None)
    assert metrics.t_interval([]) == (None, None)
    assert metrics.t_interval([0.5, None, 0.7]) == (None, None)
    assert metrics.t_interval([0.25] * 3) == (0.25, [0.25, 0.25])


def test_few_runs_need_students_interval():
    """Of three runs, it holds the true mean as often as it says; the bootstrap does not."""
    rng = np.random.default_rng(0)
    held = {"t": 0, "bootstrap": 0}
    for _ in range(400):
        runs = rng.normal(0.5, 0.1, 3)
        found = {
            "t": metrics.t_interval(list(runs))[1],
            "bootstrap": metrics.mean_interval(runs, rng, resamples=500)[1],
        }
        for name, (low, high) in found.items():
            held[name] += low <= 0.5 <= high
    assert 0.93 <= held["t"] / 400 <= 0.97
    assert held["bootstrap"] / 400 < 0.8
