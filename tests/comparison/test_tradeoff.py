"""What was forgotten at the same score on the new environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import row

from contrail.comparison.summary import summarise
from contrail.comparison.tradeoff import tradeoffs
from contrail.plugins.reports import comparison, comparison_figures, comparison_tables
from contrail.reporting import reporting

ORDER = ("babyai", "textcraft")
R: list[list[float | None]] = [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [0.5, 0.8, 0.2]]
Curve = list[tuple[float, float]]


def learnt(strategy: str, points: Curve, seed: int = 0, **changes: Any) -> Any:
    """A run whose second stage has these points of success on the new and the old environment,
    10 updates apart."""
    made = row(strategy, R, seed=seed)
    made.result["curves"][1] = {
        "textcraft": [[10 * at, new] for at, (new, _) in enumerate(points)],
        "babyai": [[10 * at, old] for at, (_, old) in enumerate(points)],
        "webshop": [[10 * at, 0.2] for at in range(len(points))],
    }
    made.result.update(changes)
    return made


def only(rows: list[Any]) -> dict[str, Any]:
    (found,) = tradeoffs(rows, [ORDER])
    return found


def test_strategies_are_compared_where_they_have_learnt_the_same() -> None:
    """The slow one ends with less forgotten, and has forgotten more at the same score."""
    fast = [(0.2, 0.9), (0.6, 0.8), (1.0, 0.4)]
    slow = [(0.2, 0.9), (0.4, 0.7), (0.6, 0.6)]
    found = only([learnt("fast", fast), learnt("slow", slow)])
    assert found["level"] == 0.6
    at = {label: value["updates"] for label, value in found["strategies"].items()}
    assert at == {"fast": 10, "slow": 20}
    forgotten = {label: value["forgotten"] for label, value in found["strategies"].items()}
    assert forgotten == pytest.approx({"fast": 0.1, "slow": 0.3})
    assert found["curves"]["fast"] == [[0, 0.2, 0.9], [10, 0.6, 0.8], [20, 1.0, 0.4]]


def test_a_strategy_that_has_lost_an_evaluation_is_named() -> None:
    """Without one of its seeds it would be another strategy's mean, at another level."""
    whole = [(0.2, 0.9), (0.6, 0.8), (1.0, 0.4)]
    cut = [(0.2, 0.9), (float("nan"), 0.8), (0.5, 0.4)]
    rows = [learnt(name, whole, seed) for name in ("one", "two", "three") for seed in (0, 1)]
    rows[3] = learnt("two", cut, 1)
    found = only(rows)
    assert list(found["strategies"]) == ["one", "three"]
    assert found["lost"] == {"two": 1}
    assert found["level"] == 1.0
    assert comparison.without_tradeoff(found) == {"two": "lost to faults"}
    assert tradeoffs([learnt("one", cut)], [ORDER]) == []


def test_a_seed_that_a_strategy_lacks_does_not_count() -> None:
    """Without it the strategies do the same; with it, one would seem to begin elsewhere."""
    same = [(0.2, 0.9), (0.8, 0.3)]
    rows = [learnt(name, same, seed) for name in ("one", "two") for seed in (0, 1)]
    whole = only(rows)
    more = only([*rows, learnt("one", [(0.6, 0.1), (0.7, 0.9)], seed=2)])
    assert more == whole
    assert more["strategies"]["one"] == more["strategies"]["two"]
    assert tradeoffs([learnt("one", same, 0), learnt("two", same, 1)], [ORDER]) == []


def test_between_two_evaluations() -> None:
    one = [(0.0, 0.8), (0.8, 0.4)]
    found = only([learnt("one", one), learnt("other", [(0.0, 0.8), (0.2, 0.8)])])
    assert found["level"] == pytest.approx(0.2)
    assert found["strategies"]["one"]["updates"] == pytest.approx(2.5)
    assert found["strategies"]["one"]["forgotten"] == pytest.approx(0.1)


def test_seeds_give_the_interval() -> None:
    rows = [
        learnt(label, [(0.2, 0.9), (0.7, 0.9 - lost - 0.02 * seed)], seed)
        for label, lost in (("one", 0.1), ("other", 0.4))
        for seed in range(3)
    ]
    value = only(rows)["strategies"]["one"]
    assert value["values"] == pytest.approx([0.1, 0.12, 0.14])
    half = 4.302653 * 0.02 / np.sqrt(3)  # Student's t, two degrees of freedom
    assert value["interval"] == pytest.approx([0.12 - half, 0.12 + half])


def test_identical_strategies_have_forgotten_the_same() -> None:
    points = [(0.2, 0.9), (0.5, 0.7), (0.4, 0.6)]
    one, other = only([learnt("one", points), learnt("other", points)])["strategies"].values()
    assert one == other


def test_a_strategy_that_does_not_learn_does_not_set_the_level() -> None:
    """With learning rate 0, all points are the first; nothing can be compared at its score."""
    still = [(0.2, 0.9)] * 3
    found = only([learnt("learns", [(0.2, 0.9), (0.8, 0.3)]), learnt("still", still)])
    assert found["left_out"] == ["still"]
    assert found["level"] == 0.8
    assert only([learnt("still", still)])["level"] is None


def test_a_strategy_that_begins_above_the_level_is_named() -> None:
    """Its earlier stages have taught it the new environment: it has learnt nothing of it here."""
    curves: dict[str, Curve] = {
        "fast": [(0.5, 0.9), (0.9, 0.1)],
        "slow": [(0.2, 0.9), (0.4, 0.6)],
        "other": [(0.2, 0.9), (0.6, 0.3)],
    }
    rows = [learnt(*item) for item in curves.items()]
    found = only(rows)
    assert found["level"] == 0.4
    assert found["above"] == ["fast"]
    assert list(found["strategies"]) == ["slow", "other"]
    summary = summarise("it", rows, [*curves], [ORDER], [0], "slow")
    [(_, item)] = comparison.shown_tradeoffs(summary)
    assert comparison.without_tradeoff(item) == {"fast": "above from the start"}


def test_the_level_is_reached_up_to_rounding() -> None:
    almost = 0.1 - 1e-16
    assert almost < 0.1
    found = only(
        [learnt("at", [(almost, 0.9), (0.5, 0.3)]), learnt("below", [(0.05, 0.9), (0.1, 0.3)])]
    )
    assert found["above"] == ["at"]
    assert list(found["strategies"]) == ["below"]


@pytest.mark.parametrize(
    "changes",
    [
        {"restarts": True},
        {"curves": [{}, {}]},
        {"curves": [{}, {"textcraft": [[0, 0.2], [10, 0.8]]}]},
        {"curves": [{}, {name: [[0, 0.2], [10, None]] for name in ORDER}]},
        {"own": [["babyai"], []]},
    ],
    ids=["restarts", "no curves", "one curve", "lost to faults", "nothing of its own"],
)
def test_runs_that_have_no_trade_off(changes: dict[str, Any]) -> None:
    assert tradeoffs([learnt("one", [(0.2, 0.9), (0.8, 0.3)], **changes)], [ORDER]) == []


def test_after_a_warm_up_the_stages_of_the_stream_count() -> None:
    made = learnt("one", [(0.2, 0.9), (0.8, 0.3)])
    shifted = {key: [made.result[key][0], *made.result[key]] for key in ("own", "curves")}
    made.result.update(shifted, warmup=True)
    assert only([made])["strategies"]["one"]["forgotten"] == pytest.approx(0.6)


def test_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        learnt(label, [(0.2, 0.9), (0.7, 0.9 - lost)], seed)
        for label, lost in (("sequential", 0.4), ("imitation", 0.125))
        for seed in range(2)
    ]
    names = ["sequential", "imitation"]
    found = summarise("fit", rows, names, [ORDER], [0, 1], "sequential")
    found |= {"failed": {}, "shared": None}
    with reporting(full=True):
        for plugin in (comparison_tables, comparison_figures, comparison):
            plugin.contrail_comparison(comparison=found, directory=str(tmp_path))
    shown = capsys.readouterr().out
    assert "Forgotten at the same score" in shown
    assert "2: textcraft" in shown
    assert "+0.12" in shown
    assert (tmp_path / "compare.tradeoff.png").read_bytes().startswith(b"\x89PNG")
