"""Metrics that choose among noisy rows or columns: forgetting, drop, turnover, the worst."""

import numpy as np
import pytest

from contrail.metrics import transfer

NAN = np.nan


def run(rows, trained, **values):
    """Task scores of one environment `a`, and of `b` that never changes."""
    scores = np.array(rows, dtype=np.float64)
    return transfer.TaskScores({"a": scores, "b": np.ones_like(scores)}, trained, trained, **values)


@pytest.mark.parametrize("stages", [2, 5, 10])
def test_with_nothing_forgotten_forgetting_and_drop_are_0_on_average(stages):
    """The maximum of noisy rows is not: of ten rows it lies 0.13 above the last."""
    rng = np.random.default_rng(0)
    trained = [["a"], *[["b"]] * (stages - 1)]
    found = [run((rng.random((stages + 1, 32)) < 0.5).astype(float), trained) for _ in range(1500)]
    for name in ("forgetting", "drop_from_best"):
        values = [transfer.METRICS[name](item).value for item in found]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values)), name


def test_forgetting_finds_what_was_forgotten():
    rng = np.random.default_rng(0)
    chances = np.array([0.2, 0.6, 0.9, 0.3])[:, None]
    scores = (rng.random((4, 4000)) < chances).astype(float)
    found = transfer.METRICS["forgetting"](run(scores, [["a"], ["b"], ["b"]]))
    assert found.value == pytest.approx(0.6, abs=0.03)


def value(name, found, environment=None):
    if environment is not None:
        return transfer.METRICS[name].parts(found)[environment].estimate().value
    return transfer.METRICS[name](found).value


def test_turnover_sees_what_a_mean_hides():
    """Half of the tasks of a are lost after stage 1, and as many others are gained."""
    rows = [[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]
    found = run(rows, [["a"], ["b"]])
    assert value("forgetting", found) == 0.0
    by_environment = transfer.turnover_by_environment(found)
    # Of equal rows the latest is the best: nothing is lost since.
    assert by_environment["a"]["best"] == [2]
    assert by_environment["a"]["lost"]["value"] == 0.0
    rows[2][5] = 0
    by_environment = transfer.turnover_by_environment(run(rows, [["a"], ["b"]]))
    # The tasks 0, 2, 4 tell that row 1 was no worse than row 2 for 1, 3, 5, of which 1 is lost.
    assert by_environment["a"]["best"] == [1, 2]
    assert by_environment["a"]["lost"]["value"] == pytest.approx(1 / 6)
    assert by_environment["b"]["lost"]["value"] == by_environment["b"]["gained"]["value"] == 0.0
    assert by_environment["a"]["independent_dice"] is None


def test_turnover_less_what_was_gained_is_the_drop_from_best():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = (rng.random((5, 12)) < 0.5).astype(float)
        scores[rng.random((5, 12)) < 0.1] = NAN
        found = run(scores, [["a"], ["b"], ["a"], ["b"]])
        lost, won, drop = (
            value(name, found, "a") for name in ("turnover", "gained", "drop_from_best")
        )
        assert lost - won == pytest.approx(drop)
        assert lost >= 0
        assert won >= 0


def test_turnover_is_0_where_nothing_changes_and_independent_dice_are_told():
    rng = np.random.default_rng(0)
    chances = rng.random(400)[:, None]
    played = (rng.random((400, 8)) < chances).astype(float)
    same = np.repeat(played[None], 3, axis=0)
    found = run(same.mean(axis=2), [["a"], ["b"]], outcomes={"a": same})
    told = transfer.turnover_by_environment(found)["a"]
    assert told["lost"]["value"] == told["gained"]["value"] == 0.0
    # A simulation of what is told: the same policy, evaluated again with other dice.
    again = (rng.random((400, 8)) < chances).astype(float)
    assert told["independent_dice"] == pytest.approx(np.mean(played * (1 - again)), abs=0.02)
    assert told["independent_dice"] == pytest.approx(np.mean(chances * (1 - chances)), abs=0.02)


def test_turnover_of_several_samples_is_of_each_sample():
    """The mean over the samples stays, but each sample solves what the other one did."""
    rows = np.array([[[0, 0]] * 4, [[1, 0]] * 4, [[0, 1]] * 4], dtype=float)
    rows[1, :, 0] = [1, 1, 1, 1]
    found = transfer.TaskScores(
        {"a": np.array([[0.0] * 4, [0.51] * 4, [0.5] * 4])},
        [["a"], []],
        [["a"], []],
        outcomes={"a": rows},
    )
    assert value("turnover", found) == 0.5
    assert value("gained", found) == 0.5


def test_a_row_s_missing_task_is_left_out_of_turnover():
    found = run([[0, 0, 0, 0], [1, 1, 1, 1], [0, NAN, 1, 0]], [["a"], ["b"]])
    part = transfer.METRICS["turnover"].parts(found)["a"].estimate()
    assert (part.value, part.count) == (pytest.approx(2 / 3), 3)


def test_turnover_of_noise_is_that_of_independent_dice_whatever_the_number_of_rows():
    """With dice of their own, rows of one policy differ; choosing among more adds nothing."""
    rng = np.random.default_rng(0)
    for stages in (2, 10):
        trained = [["a"]] * stages
        found = [
            run((rng.random((stages + 1, 32)) < 0.5).astype(float), trained) for _ in range(800)
        ]
        difference = [value("turnover", item, "a") - value("gained", item, "a") for item in found]
        assert abs(np.mean(difference)) < 4 * np.std(difference) / np.sqrt(len(difference))


def test_the_worst_environment_is_not_chosen_on_the_tasks_that_it_is_measured_on():
    rng = np.random.default_rng(0)
    scores, least = [], []
    for _ in range(800):
        last = {name: (rng.random((1, 32)) < 0.5).astype(float) for name in "abcde"}
        scores.append(value("worst_environment", transfer.TaskScores(last, [], [])))
        least.append(min(row.mean() for row in last.values()))
    assert abs(np.mean(scores) - 0.5) < 4 * np.std(scores) / np.sqrt(len(scores))
    assert np.mean(least) < 0.42


def test_the_worst_environment_by_hand():
    last = {"a": [1, 1, 0, 1], "b": [0, 1, 0, 0], "c": [1, 1, 1, 1]}
    scores = {name: np.array([row], dtype=float) for name, row in last.items()}
    assert value("worst_environment", transfer.TaskScores(scores, [], [])) == 0.25
    scores["c"][0, :] = NAN
    assert value("worst_environment", transfer.TaskScores(scores, [], [])) is None
