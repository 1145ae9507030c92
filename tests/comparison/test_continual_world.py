"""Continual World's forward transfer: its areas, its ratio of means, and its source's numbers."""

import numpy as np
import pytest
from exact import metric_value

from contrail import intervals
from contrail.comparison import continual_world


def test_agrees_with_continual_world():
    """arXiv:2105.10919: N tasks, each trained for D steps, p_i(t) measured n times in each stage.

    AUC_i is the integral of p_i over its own stage, divided by D; F_i = p_i(i D) - p_i(N D).
    """
    rng = np.random.default_rng(0)
    N, n = 4, 10
    p = rng.uniform(size=(N, N * n))  # p[i][t]
    alone = rng.uniform(0, 0.9, size=(N, n))
    steps = list(range(n))
    own, reference = (
        np.array([[continual_world.area_under_curve(curve, steps) for curve in curves]])
        for curves in ([p[i][i * n : (i + 1) * n] for i in range(N)], alone)
    )
    expected = np.mean((own - reference) / (1 - reference))
    assert continual_world.continual_world_forward_transfer(own, reference) == pytest.approx(
        [expected]
    )
    # Its forgetting is the backward transfer of the rows at the ends of the stages; it divides by
    # N, and the last task, of which nothing can have been forgotten, counts as 0.
    R = [[0.0] * N, *([float(p[i][stage * n - 1]) for i in range(N)] for stage in range(1, N + 1))]
    F = [p[i][(i + 1) * n - 1] - p[i][-1] for i in range(N)]
    assert F[-1] == 0
    ours = metric_value("backward_transfer", R, [{j} for j in range(N)])
    assert ours is not None
    assert sum(F) / N == pytest.approx(-ours * (N - 1) / N)


def test_area_under_curve():
    assert continual_world.area_under_curve([0.0, 0.5, 1.0], [0, 1, 2]) == pytest.approx(0.5)
    assert continual_world.area_under_curve([0.0, 1.0, 1.0], [0, 10, 30]) == pytest.approx(25 / 30)
    assert continual_world.area_under_curve([0.0, None, 1.0], [0, 1, 2]) is None
    assert continual_world.area_under_curve([], []) is None
    assert continual_world.area_under_curve([0.5], [10]) is None
    with pytest.raises(ValueError, match="one step for each point"):
        continual_world.area_under_curve([0.0, 1.0], [10, 10])


def test_continual_world_forward_transfer_is_a_ratio_of_means():
    found = continual_world.continual_world_forward_transfer(
        np.array([[0.6, 0.3], [0.4, 0.3]]), np.array([[0.2, 0.4], [0.3, 0.4]])
    )
    assert np.mean(found) == pytest.approx(((0.5 - 0.25) / 0.75 + (0.3 - 0.4) / 0.6) / 2)


def test_continual_world_forward_transfer_without_transfer_is_0():
    """References near 1: the mean of the seeds' own ratios is -1 here."""
    rng = np.random.default_rng(0)
    held, values = 0, []
    for _ in range(400):
        own, alone = (np.clip(rng.normal(0.9, 0.04, (10, 2)), 0, 1) for _ in range(2))
        seeds = continual_world.continual_world_forward_transfer(own, alone)
        values.append(np.mean(seeds))
        low, high = intervals.seeds_interval(
            [intervals.Estimate(value, None) for value in seeds]
        ).interval
        held += low <= 0 <= high
    assert abs(np.median(values)) < 0.05
    assert abs(np.mean(values)) < 0.05
    assert held / 400 > 0.92
    assert (
        continual_world.continual_world_forward_transfer(np.ones((3, 1)), np.ones((3, 1))) is None
    )
