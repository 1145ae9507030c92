"""The first sentence of a comparison: a strategy is the best only where a difference shows."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from compared import row

from contrail.comparison import summary
from contrail.comparison.summary import summarise
from contrail.plugins.reports.comparison_short import answer

ORDER = ("babyai", "textcraft")


@pytest.fixture(autouse=True)
def _few_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the metrics that the sentence reads: simulations make hundreds of comparisons."""
    monkeypatch.setattr(summary, "_names", lambda rows: ["average_score", "forgetting"])


def compared(kept: dict[str, list[float]]) -> dict[str, Any]:
    """The comparison of strategies that keep so much of the first environment, by seed."""
    rows = [
        row(name, [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [value, 0.5, 0.2]], seed=seed)
        for name, values in kept.items()
        for seed, value in enumerate(values)
    ]
    seeds = list(range(len(kept["sequential"])))
    found: dict[str, Any] = summarise("it", rows, list(kept), [ORDER], seeds, "sequential")
    return found


def said(kept: dict[str, list[float]]) -> str:
    return answer(compared(kept))


def test_strategies_that_do_the_same_are_not_ranked() -> None:
    same = [0.5, 0.6, 0.4]
    text = said({"sequential": same, "replay": same, "kl": same})
    assert text.startswith("No difference in average score shows (3 seeds): 0.40 each; ")
    assert "no difference in forgetting shows (3 seeds): 0.40 each" in text


def test_one_seed_ranks_nothing() -> None:
    text = said({"sequential": [0.5], "replay": [0.6]})
    assert text.startswith("No difference in average score shows (one seed): from replay, 0.43")


def test_the_seeds_are_those_that_there_are() -> None:
    """Of an interrupted comparison, not those that were planned."""
    text = said({"sequential": [0.5, 0.6, 0.4], "replay": [0.55, 0.6]})
    assert text.startswith("No difference in average score shows (2 to 3 seeds): from ")
    text = said({"sequential": [0.5, 0.6, 0.4][:2], "replay": [0.55]})
    assert "(1 to 2 seeds)" in text


def test_intervals_that_allow_for_a_choice_stay_within_what_can_be_true() -> None:
    extremes = compared({"sequential": [0.1, 0.9], "replay": [0.9, 0.1]})["extremes"]
    low, high = extremes["average_score"]["greatest"]
    assert 0 <= low < high <= 1
    assert extremes["average_score"]["range"][1] == 1
    low, high = extremes["forgetting"]["greatest"]
    assert -1 <= low < high <= 1
    assert 1 < extremes["forgetting"]["range"][1] <= 2


@pytest.mark.parametrize(("better", "least", "most"), [(0.0, 0, 5), (0.4, 28, 30)])
def test_how_often_a_best_one_is_named(better: float, least: int, most: int) -> None:
    """Two strategies that differ by chance alone are ranked about as often as the level says."""
    rng = numpy.random.default_rng(0)
    ranked = 0
    for _ in range(30):
        kept = rng.normal(0.4, 0.05, size=(2, 5)) + numpy.array([[0.0], [better]])
        text = said(dict(zip(("sequential", "replay"), kept.clip(0, 1).tolist(), strict=True)))
        ranked += "ends with the highest average score" in text
        assert ("ends with the highest" in text) == ("forgets least" in text)
    assert least <= ranked <= most


@pytest.mark.parametrize("strategies", [2, 4])
def test_of_many_equals_none_is_the_best(strategies: int) -> None:
    """The best of four and the worst of them differ by more than two that nobody has chosen."""
    rng = numpy.random.default_rng(0)
    names = ["sequential", *"abcde"[: strategies - 1]]
    cases, ranked = 40, 0
    for _ in range(cases):
        kept = rng.normal(0.4, 0.1, size=(strategies, 5)).clip(0, 1)
        text = said(dict(zip(names, kept.tolist(), strict=True)))
        ranked += "ends with the highest average score" in text
    assert ranked <= 6  # of 40 at 5%, 7 or more have a probability of 0.3%


@pytest.mark.parametrize("strategies", [2, 4])
def test_the_greatest_of_many_gains_is_no_gain(strategies: int) -> None:
    """Nothing is gained in the environment that no stage trains on."""
    rng = numpy.random.default_rng(0)
    names = ["sequential", *"abcde"[: strategies - 1]]
    cases, sure = 40, 0
    for _ in range(cases):
        rows = [
            row(name, [[0.4, 0.3, 0.3], [0.9, 0.3, 0.3], [0.5, 0.5, value]], seed=seed)
            for name in names
            for seed, value in enumerate(rng.normal(0.3, 0.1, 5).clip(0, 1).tolist())
        ]
        found = summarise("it", rows, names, [ORDER], list(range(5)), "sequential")
        sure += "gains most" in answer(found)
    assert sure <= 3  # of 40 at 2.5%, 4 or more have a probability of 1.8%
