"""Transfer and forgetting against matrices worked by hand, Avalanche's metrics, and each other."""

import json
import math
import re
import time

import numpy as np
import pytest

from contrail import metrics

NAN = math.nan
TWO = [[0.1, 0.2], [0.8, 0.3], [0.5, 0.9]]
"""Two environments in turn: A falls from 0.8 to 0.5 while B is trained on."""
THREE = [
    [0.1, 0.2, 0.3, 0.6],
    [0.7, 0.4, 0.2, 0.5],
    [0.6, 0.9, 0.1, 0.7],
    [0.2, 0.8, 0.5, 0.4],
]
"""Three environments in turn, and a fourth never trained on."""


def close(value, expected):
    assert (value is None) == (expected is None)
    assert value is None or value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("R", "trained", "expected"),
    [
        pytest.param(
            TWO,
            [{0}, {1}],
            {
                "average_score": 0.7,
                "backward_transfer": 0.5 - 0.8,
                "forgetting": 0.8 - 0.5,
                "drop_from_best": (0.3 + 0) / 2,
                "forward_transfer": 0.3 - 0.2,
                "delta_held_in": (0.4 + 0.7) / 2,
                "delta_held_out": None,
                "delta_overall": (0.4 + 0.7) / 2,
            },
            id="two stages",
        ),
        pytest.param(
            THREE,
            [{0}, {1}, {2}],
            {
                "average_score": 1.9 / 4,
                "backward_transfer": ((0.2 - 0.7) + (0.8 - 0.9)) / 2,
                "forgetting": ((0.7 - 0.2) + (0.9 - 0.8)) / 2,
                "drop_from_best": (0.5 + 0.1 + 0) / 3,
                "forward_transfer": ((0.4 - 0.2) + (0.1 - 0.3)) / 2,
                "delta_held_in": (0.1 + 0.6 + 0.2) / 3,
                "delta_held_out": -0.2,
                "delta_overall": (0.1 + 0.6 + 0.2 - 0.2) / 4,
            },
            id="three stages",
        ),
        pytest.param(
            [[0.1, 0.2], [0.8, 0.3], [0.5, 0.9], [0.85, 0.6]],
            [{0}, {1}, {0}],
            {
                "average_score": 0.725,
                "backward_transfer": 0.6 - 0.9,  # of B alone: A was trained on at the end
                "forgetting": 0.9 - 0.6,
                "drop_from_best": (0 + 0.3) / 2,
                "forward_transfer": 0.3 - 0.2,
                "delta_held_in": (0.75 + 0.4) / 2,
                "delta_held_out": None,
                "delta_overall": (0.75 + 0.4) / 2,
            },
            id="A, B, A",
        ),
        pytest.param(
            [[0.1, 0.2, 0.3], [0.8, 0.3, 0.1]],
            [{0, 1}],
            {
                "average_score": 0.4,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": 0.0,
                "forward_transfer": None,
                "delta_held_in": (0.7 + 0.1) / 2,
                "delta_held_out": -0.2,
                "delta_overall": (0.7 + 0.1 - 0.2) / 3,
            },
            id="a mixture",
        ),
        pytest.param(
            [[0.1], [0.8]],
            [{0}],
            {
                "average_score": 0.8,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": 0.0,
                "forward_transfer": None,
                "delta_held_in": 0.7,
                "delta_held_out": None,
                "delta_overall": 0.7,
            },
            id="one environment",
        ),
        pytest.param(
            [[0.1, 0.4]],
            [],
            {
                "average_score": 0.25,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": None,
                "forward_transfer": None,
                "delta_held_in": None,
                "delta_held_out": None,
                "delta_overall": None,
            },
            id="no training",
        ),
        pytest.param(
            [[0.1, 0.2], [0.8, None], [0.5, 0.9]],
            [{0}, {1}],
            {
                "average_score": 0.7,
                "backward_transfer": -0.3,
                "forgetting": 0.3,
                "drop_from_best": None,
                "forward_transfer": None,  # needs the cell that is missing
                "delta_held_in": 0.55,
                "delta_held_out": None,
                "delta_overall": 0.55,
            },
            id="an undefined cell",
        ),
        pytest.param(
            [[0.1, 0.2], [0.8, 0.3], [None, 0.9]],
            [{0}, {1}],
            {
                "average_score": None,  # not the mean over the other environment
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": None,
                "forward_transfer": 0.1,
                "delta_held_in": None,
                "delta_held_out": None,
                "delta_overall": None,
            },
            id="an undefined cell at the end",
        ),
    ],
)
def test_by_hand(R, trained, expected):
    found = metrics.summary(R, trained)
    assert list(found) == list(metrics.METRICS) == list(expected)
    for name, value in expected.items():
        close(found[name], value)
    json.dumps(found, allow_nan=False)


def test_what_the_base_model_could_do_counts_as_forgotten():
    R = [[0.9, 0.1], [0.6, 0.1], [0.5, 0.8]]
    assert metrics.forgetting(R, [{0}, {1}]) == pytest.approx(0.4)
    assert metrics.backward_transfer(R, [{0}, {1}]) == pytest.approx(-0.1)


def test_forgetting_is_below_zero_where_an_environment_went_on_improving():
    R = [[0.1, 0.1], [0.6, 0.1], [0.7, 0.8]]
    assert metrics.forgetting(R, [{0}, {1}]) == pytest.approx(-0.1)


def test_change_and_average_score_need_no_stages():
    assert metrics.change([[0.25, None], [0.5, 0.5]]) == [[0.0, None], [0.25, None]]
    assert metrics.average_score(TWO) == pytest.approx(0.7)


@pytest.mark.parametrize("trained", [[{0}], [{0}, {1}, {0}], [{0}, {2}], [{0}, {-1}]])
def test_stages_that_do_not_fit_R_are_refused(trained):
    with pytest.raises(ValueError, match="R has"):
        metrics.backward_transfer(TWO, trained)


def test_every_metric_says_what_it_is():
    for name, metric in metrics.METRICS.items():
        assert metric is getattr(metrics, name)
        assert metric.formula
        assert metric.source.startswith("arXiv:")
        assert metric.__doc__


def test_agrees_with_avalanche_where_the_definitions_do():
    """Each environment trained on once, and best right after its own stage."""
    from contrail.torchvision_compat import repair

    repair()
    from avalanche.evaluation.metrics.forgetting_bwt import BWT, Forgetting
    from avalanche.evaluation.metrics.forward_transfer import ForwardTransfer

    rng = np.random.default_rng(0)
    for count in (2, 3, 5):
        R = rng.uniform(0, 0.7, (count + 1, count))
        for j in range(count):
            R[j + 1, j] = rng.uniform(0.7, 1)
        theirs = {"bwt": BWT(), "forgetting": Forgetting(), "forward": ForwardTransfer()}
        for j in range(count):
            for name in ("bwt", "forgetting"):
                theirs[name].update(j, R[j + 1, j], initial=True)
                if j < count - 1:
                    theirs[name].update(j, R[count, j])
            theirs["forward"].update(j, R[0, j], initial=True)
            if j > 0:
                theirs["forward"].update(j, R[j, j])
        mean = {name: np.mean(list(metric.result().values())) for name, metric in theirs.items()}
        trained = [{j} for j in range(count)]
        assert metrics.backward_transfer(R, trained) == pytest.approx(mean["bwt"])
        assert metrics.forgetting(R, trained) == pytest.approx(mean["forgetting"])
        assert metrics.forward_transfer(R, trained) == pytest.approx(mean["forward"])


def avalanche(R):
    """BWT, forgetting and forward transfer of each environment by Avalanche's own metrics.

    Environment j is the task of stage j + 1; keys are updated when Avalanche's plugins update them.
    """
    from contrail.torchvision_compat import repair

    repair()
    from avalanche.evaluation.metrics.forgetting_bwt import BWT, Forgetting
    from avalanche.evaluation.metrics.forward_transfer import ForwardTransfer

    found = {"bwt": BWT(), "forgetting": Forgetting(), "forward": ForwardTransfer()}
    count = len(R) - 1
    for j in range(count):
        found["forward"].update(j, R[0][j], initial=True)
        for stage in range(1, count + 1):
            for name in ("bwt", "forgetting"):
                if stage > j:
                    found[name].update(j, R[stage][j], initial=stage == j + 1)
            if stage == j:  # after the stage before its own
                found["forward"].update(j, R[stage][j])
    return {name: metric.result() for name, metric in found.items()}


SQUARE = [row[:3] for row in THREE]
RISING = [[0.1, 0.1, 0.1], [0.5, 0.4, 0.2], [0.7, 0.6, 0.3], [0.6, 0.6, 0.8]]
"""The first environment is best after the second stage, not after its own."""


@pytest.mark.parametrize("R", [TWO, SQUARE, RISING])
def test_avalanches_own_numbers(R):
    trained = [{j} for j in range(len(R) - 1)]
    theirs = {name: list(values.values()) for name, values in avalanche(R).items()}
    assert metrics.backward_transfer(R, trained) == pytest.approx(np.mean(theirs["bwt"]))
    assert metrics.forward_transfer(R, trained) == pytest.approx(np.mean(theirs["forward"]))
    # Avalanche's forgetting counts from the environment's own stage, ours from its best (Chaudhry).
    gained = np.mean([max(row[j] for row in R[:-1]) - R[j + 1][j] for j in range(len(R) - 2)])
    assert metrics.forgetting(R, trained) == pytest.approx(np.mean(theirs["forgetting"]) + gained)
    assert (gained > 0) == (R is RISING)


def sums_of_gem(R):
    """Backward and forward transfer written out as in GEM (arXiv:1706.08840), tasks 1 to T.

    Theirs has no row for the untrained model but a vector b, and Mammoth computes the same.
    """
    b, T = R[0], len(R) - 1
    score = {(i, j): R[i][j - 1] for i in range(1, T + 1) for j in range(1, T + 1)}
    backward = sum(score[T, i] - score[i, i] for i in range(1, T)) / (T - 1)
    forward = sum(score[i - 1, i] - b[i - 1] for i in range(2, T + 1)) / (T - 1)
    average = sum(score[T, i] for i in range(1, T + 1)) / T
    return average, backward, forward


def sum_of_chaudhry(R):
    """F_T of arXiv:1801.10112: mean over j < T of the best a_{l,j}, l = 1 … T-1, less a_{T,j}.

    Mammoth takes the best over l = 1 … T, which differs where the last row is the best.
    """
    T = len(R) - 1
    return sum(max(R[stage][j] for stage in range(1, T)) - R[T][j] for j in range(T - 1)) / (T - 1)


def test_agrees_with_gem_chaudhry_and_mammoth():
    rng = np.random.default_rng(0)
    for count in (2, 3, 6):
        for _ in range(20):
            R = rng.uniform(size=(count + 1, count)).tolist()
            trained = [{j} for j in range(count)]
            average, backward, forward = sums_of_gem(R)
            assert metrics.average_score(R, trained) == pytest.approx(average)
            assert metrics.backward_transfer(R, trained) == pytest.approx(backward)
            assert metrics.forward_transfer(R, trained) == pytest.approx(forward)
            # Ours counts what the base model could do, too: alike where it could do nothing.
            R[0] = [0.0] * count
            assert metrics.forgetting(R, trained) == pytest.approx(sum_of_chaudhry(R))


def test_agrees_with_continual_world():
    """arXiv:2105.10919: N tasks, each trained for D steps, p_i(t) measured n times in each stage.

    AUC_i is the integral of p_i over its own stage, divided by D; F_i = p_i(i D) - p_i(N D).
    """
    rng = np.random.default_rng(0)
    N, n = 4, 10
    p = rng.uniform(size=(N, N * n))  # p[i][t]
    alone = rng.uniform(0, 0.9, size=(N, n))
    auc = [sum(p[i][i * n : (i + 1) * n]) / n for i in range(N)]
    reference = [sum(alone[i]) / n for i in range(N)]
    expected = [(a - b) / (1 - b) for a, b in zip(auc, reference, strict=True)]
    each, mean = metrics.continual_world_forward_transfer(
        [metrics.area_under_curve(p[i][i * n : (i + 1) * n]) for i in range(N)],
        [metrics.area_under_curve(alone[i]) for i in range(N)],
    )
    assert each == pytest.approx(expected)
    assert mean == pytest.approx(sum(expected) / N)
    # Its forgetting is the backward transfer of the rows at the ends of the stages; it divides by
    # N, and the last task, of which nothing can have been forgotten, counts as 0.
    R = [[0.0] * N, *([float(p[i][stage * n - 1]) for i in range(N)] for stage in range(1, N + 1))]
    F = [p[i][(i + 1) * n - 1] - p[i][-1] for i in range(N)]
    assert F[-1] == 0
    ours = metrics.backward_transfer(R, [{j} for j in range(N)])
    assert ours is not None
    assert sum(F) / N == pytest.approx(-ours * (N - 1) / N)


def test_every_undefined_metric_says_what_it_needs():
    alone = metrics.summary([[0.1], [0.8]], [{0}])
    for name in [name for name, value in alone.items() if value is None]:
        assert re.search("two environments|never trained on", metrics.METRICS[name].needs)


@pytest.fixture
def random_run():
    rng = np.random.default_rng(1)
    return rng.uniform(size=(5, 4)), [{0}, {1, 2}, {0}, {2}]


def test_the_order_of_the_environments_does_not_matter(random_run):
    R, trained = random_run
    order = [2, 0, 3, 1]
    renamed = [{order.index(j) for j in stage} for stage in trained]
    permuted = metrics.summary(R[:, order], renamed)
    for name, value in metrics.summary(R, trained).items():
        close(permuted[name], value)


def test_a_constant_moves_the_average_score_alone(random_run):
    R, trained = random_run
    shifted = metrics.summary(R + 0.25, trained)
    for name, value in metrics.summary(R, trained).items():
        close(shifted[name], value + 0.25 * (name == "average_score"))


def test_held_in_and_held_out_make_up_the_whole(random_run):
    R, trained = random_run
    found = metrics.summary(R, trained)
    assert found["delta_overall"] == pytest.approx(
        (3 * found["delta_held_in"] + found["delta_held_out"]) / 4
    )


def test_forgetting_is_at_least_what_backward_transfer_lost(random_run):
    R, trained = random_run
    assert metrics.forgetting(R, trained) >= -metrics.backward_transfer(R, trained)


def test_transfer_matrix():
    found = metrics.transfer_matrix([[0.5, 0.25], [None, 1.0]], [0.25, 0.5])
    assert found == {
        "score": [[0.5, 0.25], [None, 1.0]],
        "change": [[0.25, -0.25], [None, 0.5]],
    }


def test_area_under_curve():
    assert metrics.area_under_curve([0.0, 0.5, 1.0]) == pytest.approx(0.5)
    assert metrics.area_under_curve([0.0, 1.0, 1.0], [0, 10, 30]) == pytest.approx(25 / 30)
    assert metrics.area_under_curve([0.0, None, 1.0]) is None
    assert metrics.area_under_curve([]) is None
    assert metrics.area_under_curve([0.5], [10]) is None
    with pytest.raises(ValueError, match="one step for each point"):
        metrics.area_under_curve([0.0, 1.0], [10, 10])


def test_continual_world_forward_transfer():
    each, mean = metrics.continual_world_forward_transfer([0.6, 0.3], [0.2, 0.4])
    assert each == pytest.approx([0.5, -1 / 6])
    assert mean == pytest.approx(1 / 6)
    each, mean = metrics.continual_world_forward_transfer([0.6, 0.3, 1.0], [0.2, None, 1.0])
    assert each == [pytest.approx(0.5), None, None]
    assert mean is None


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


def test_the_bootstrap_is_fast():
    scores = [np.random.default_rng(j).random((8, 64)) for j in range(6)]
    start = time.process_time()
    metrics.bootstrap(scores, [{j % 6} for j in range(7)], np.random.default_rng(0))
    assert time.process_time() - start < 1


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
