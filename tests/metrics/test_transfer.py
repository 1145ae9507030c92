"""Transfer and forgetting against matrices worked by hand, Avalanche's metrics, and each other."""

import json
import math
import re

import numpy as np
import pytest
from exact import metric_value, results, summary

from contrail.metrics import transfer

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
                "worst_environment": 0.5,
                "backward_transfer": 0.5 - 0.8,
                "forgetting": 0.8 - 0.5,
                "drop_from_best": (0.3 + 0) / 2,
                "turnover": 0.15,
                "gained": 0.0,
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
                "worst_environment": 0.2,
                "backward_transfer": ((0.2 - 0.7) + (0.8 - 0.9)) / 2,
                "forgetting": ((0.7 - 0.2) + (0.9 - 0.8)) / 2,
                "drop_from_best": (0.5 + 0.1 + 0) / 3,
                "turnover": (0.5 + 0.1 + 0 + 0.3) / 4,
                "gained": 0.0,
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
                "worst_environment": 0.6,
                "backward_transfer": 0.6 - 0.9,  # of B alone: A was trained on at the end
                "forgetting": 0.9 - 0.6,
                "drop_from_best": (0 + 0.3) / 2,
                "turnover": (0 + 0.3) / 2,
                "gained": 0.0,
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
                "worst_environment": 0.1,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": 0.0,
                "turnover": (0 + 0 + 0.2) / 3,
                "gained": 0.0,
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
                "worst_environment": 0.8,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": 0.0,
                "turnover": 0.0,
                "gained": 0.0,
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
                "worst_environment": 0.1,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": None,
                "turnover": None,
                "gained": None,
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
                "worst_environment": 0.5,
                "backward_transfer": -0.3,
                "forgetting": 0.3,
                "drop_from_best": None,
                "turnover": None,
                "gained": None,
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
                "worst_environment": None,
                "backward_transfer": None,
                "forgetting": None,
                "drop_from_best": None,
                "turnover": None,
                "gained": None,
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
    found = summary(R, trained)
    assert list(found) == list(transfer.METRICS) == list(expected)
    for name, value in expected.items():
        close(found[name], value)
    json.dumps(found, allow_nan=False)


def test_what_the_base_model_could_do_is_a_drop_and_not_forgetting():
    R = [[0.9, 0.1], [0.6, 0.1], [0.5, 0.8]]
    assert metric_value("drop_from_best", R, [{0}, {1}]) == pytest.approx((0.4 + 0) / 2)
    assert metric_value("forgetting", R, [{0}, {1}]) == pytest.approx(0.1)
    assert metric_value("backward_transfer", R, [{0}, {1}]) == pytest.approx(-0.1)


def test_forgetting_is_below_zero_where_an_environment_went_on_improving():
    R = [[0.1, 0.1], [0.6, 0.1], [0.7, 0.8]]
    assert metric_value("forgetting", R, [{0}, {1}]) == pytest.approx(-0.1)


def test_changes_are_against_the_base_model():
    cells = transfer.change(results([[0.25, None], [0.5, 0.5]], [{0}]))
    assert [[cell.value for cell in row] for row in cells] == [[0.0, None], [0.25, None]]


@pytest.mark.parametrize("trained", [[{0}], [{0}, {1}, {0}], [{0}, {2}], [{0}, {-1}]])
def test_stages_that_do_not_fit_R_are_refused(trained):
    with pytest.raises(ValueError, match=r"rows; . stages make|have no scores"):
        metric_value("backward_transfer", TWO, trained)


def run(rows, trained, own=None):
    """Task scores of one environment `a`, and of `b` that never changes."""
    scores = np.array(rows, dtype=np.float64)
    return transfer.TaskScores({"a": scores, "b": np.ones_like(scores)}, trained, own or trained)


def test_a_task_without_a_score_leaves_differences_alone():
    """Its row has only the easy tasks: 1 - 0.5 would be a gain where the common tasks have none."""
    found = run([[1, 1, 0, 0], [1, 1, NAN, NAN]], [["a"]])
    change = transfer.change(found)[1][0]
    assert (change.value, change.count) == (0.0, 2)
    assert transfer.METRICS["delta_held_in"](found).value == 0.0
    assert transfer.matrix(found)[1][0].value == 1.0


def test_an_environment_played_beyond_its_stage_is_not_that_stage_s_own():
    """As under replay: the second stage is meant for b and plays tasks of a, too."""
    rows = [[0, 0], [1, 1], [0, 0]]
    found = run(rows, [["a"], ["a", "b"]], own=[["a"], ["b"]])
    assert transfer.METRICS["backward_transfer"](found).value == -1.0
    assert transfer.METRICS["forgetting"](found).value == 1.0
    # A strategy that plays b in the first stage and a in the second, whatever they are meant for.
    swapped = run(rows, [["b"], ["a"]], own=[[], []])
    assert transfer.METRICS["forward_transfer"](swapped).value == 1.0  # of a, by the first stage
    assert transfer.METRICS["backward_transfer"](swapped).value == 0.0  # of b


def test_every_metric_says_what_it_is():
    for name, metric in transfer.METRICS.items():
        assert metric is getattr(transfer, name)
        assert metric.formula
        assert "arXiv:" in metric.source
        assert metric.__doc__


def test_agrees_with_avalanche_where_the_definitions_do():
    """Each environment trained on once, and best right after its own stage."""
    from contrail.compat.torchvision import repair

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
        assert metric_value("backward_transfer", R, trained) == pytest.approx(mean["bwt"])
        assert metric_value("forgetting", R, trained) == pytest.approx(mean["forgetting"])
        assert metric_value("forward_transfer", R, trained) == pytest.approx(mean["forward"])


def avalanche(R):
    """BWT, forgetting and forward transfer of each environment by Avalanche's own metrics.

    Environment j is the task of stage j + 1; keys are updated when Avalanche's plugins update them.
    """
    from contrail.compat.torchvision import repair

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
    assert metric_value("backward_transfer", R, trained) == pytest.approx(np.mean(theirs["bwt"]))
    assert metric_value("forward_transfer", R, trained) == pytest.approx(np.mean(theirs["forward"]))
    # Avalanche's forgetting counts from the environment's own stage, ours from its best (Chaudhry).
    gained = np.mean([max(row[j] for row in R[1:-1]) - R[j + 1][j] for j in range(len(R) - 2)])
    assert metric_value("forgetting", R, trained) == pytest.approx(
        np.mean(theirs["forgetting"]) + gained
    )
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
            assert metric_value("average_score", R, trained) == pytest.approx(average)
            assert metric_value("backward_transfer", R, trained) == pytest.approx(backward)
            assert metric_value("forward_transfer", R, trained) == pytest.approx(forward)
            assert metric_value("forgetting", R, trained) == pytest.approx(sum_of_chaudhry(R))


def test_every_undefined_metric_says_what_it_needs():
    alone = summary([[0.1], [0.8]], [{0}])
    for name in [name for name, value in alone.items() if value is None]:
        assert re.search("two environments|never trained on", transfer.METRICS[name].needs)


@pytest.fixture
def random_run():
    rng = np.random.default_rng(1)
    return rng.uniform(size=(5, 4)), [{0}, {1, 2}, {0}, {2}]


def test_the_order_of_the_environments_does_not_matter(random_run):
    R, trained = random_run
    order = [2, 0, 3, 1]
    renamed = [{order.index(j) for j in stage} for stage in trained]
    permuted = summary(R[:, order], renamed)
    for name, value in summary(R, trained).items():
        close(permuted[name], value)


def test_a_constant_moves_the_scores_alone(random_run):
    R, trained = random_run
    shifted = summary(R + 0.25, trained)
    for name, value in summary(R, trained).items():
        moved = name in ("average_score", "worst_environment")
        close(shifted[name], value + 0.25 * moved)


def test_held_in_and_held_out_make_up_the_whole(random_run):
    R, trained = random_run
    found = summary(R, trained)
    assert found["delta_overall"] == pytest.approx(
        (3 * found["delta_held_in"] + found["delta_held_out"]) / 4
    )


def test_forgetting_is_at_least_what_backward_transfer_lost(random_run):
    R, trained = random_run
    assert metric_value("forgetting", R, trained) >= -metric_value("backward_transfer", R, trained)
