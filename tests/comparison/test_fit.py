"""Forgetting over drift: the line, its intervals, and where it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import row

from contrail.comparison.fit import linear_fit
from contrail.comparison.gather import check_comparable
from contrail.comparison.summary import summarise
from contrail.plugins.reports import comparison, comparison_figures, comparison_tables
from contrail.reporting import reporting

ORDER = ("babyai", "textcraft")


def compared(drifts: dict[str, list[float | None]]) -> dict[str, Any]:
    """A comparison of strategies that forget in proportion to their drift, by seed."""
    rows = []
    for label, values in drifts.items():
        for seed, drift in enumerate(values):
            kept = 0.9 - 10 * (drift or 0.0) - 0.02 * seed
            R: list[list[float | None]] = [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [kept, 0.5, 0.2]]
            rows.append(row(label, R, seed=seed))
            if drift is not None:
                rows[-1].result["metrics"]["drift"] = drift
                means = {"base": [None, 0.5, drift], "previous": [None, 0.5, 2 * drift]}
                rows[-1].result["drift"] = {
                    kind: {"per_decision": {"mean": mean}} for kind, mean in means.items()
                }
    seeds = range(max(map(len, drifts.values())))
    found = summarise("fit", rows, list(drifts), [ORDER], seeds, "sequential")
    return found | {"failed": {}, "shared": None}


def test_the_line_by_hand() -> None:
    found = linear_fit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    assert (found["slope"], found["intercept"], found["r2"]) == pytest.approx((2.0, 1.0, 1.0))
    assert (found["slope_interval"], found["r2_interval"]) == (None, None)
    # y = 0, 1, 0, 1 over x = 0, 1, 2, 3: slope 1/5, r2 = (1/5)^2 * 5 / 1.
    found = linear_fit([0, 1, 2, 3], [0, 1, 0, 1])
    assert (found["slope"], found["intercept"], found["r2"]) == pytest.approx((0.2, 0.2, 0.2))
    low, high = found["r2_interval"]
    assert low == 0.0
    assert 0.2 < high < 1


@pytest.mark.parametrize(("x", "y"), [([0, 1], [0, 1]), ([1, 1, 1], [0, 1, 2]), ([], [])])
def test_no_line(x: list[float], y: list[float]) -> None:
    assert set(linear_fit(x, y).values()) == {None}


def test_what_does_not_vary_has_no_share_that_is_explained() -> None:
    for equal in ([0.0] * 4, [0.3, 0.1 + 0.2, 0.3, 0.3]):
        found = linear_fit([0.1, 0.2, 0.3, 0.4], equal)
        rest = {key: found[key] for key in ("slope_interval", "r2", "r2_interval")}
        assert (found["slope"], set(rest.values())) == (0.0, {None})
        assert found["intercept"] == pytest.approx(equal[0])
    assert set(linear_fit([0.1, 0.1, 0.1 + 1.4e-17], [0.1, 0.2, 0.3]).values()) == {None}


def test_the_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    slope, noise, n = 2.0, 1.0, 12
    held = {"slope": 0, "r2": 0}
    truth = slope**2 / (slope**2 + noise**2)
    for _ in range(1000):
        x = rng.normal(size=n)
        found = linear_fit(x.tolist(), (slope * x + noise * rng.normal(size=n)).tolist())
        for name, value in {"slope": slope, "r2": truth}.items():
            low, high = found[f"{name}_interval"]
            held[name] += low <= value <= high
    assert all(0.93 < count / 1000 < 0.975 for count in held.values()), held


def test_a_comparison_has_drift_and_turnover(tmp_path: Path, capsys: Any) -> None:
    found = compared({"sequential": [0.05, 0.06, 0.04], "kl": [0.01, 0.02, 0.01]})
    value = found["summary"]["kl"]["metrics"]["drift"]
    assert value["mean"] == pytest.approx(0.04 / 3)
    assert value["difference"]["mean"] == pytest.approx(0.04 / 3 - 0.05)
    assert value["interval_tasks"] is None
    fit = found["forgetting_over_drift"]
    assert len(fit["points"]) == 6
    assert fit["fits"]["base"]["slope"] == pytest.approx(10, abs=1.5)
    assert fit["fits"]["previous"]["slope"] == pytest.approx(5, abs=0.75)
    assert 0.9 < fit["fits"]["base"]["r2"] <= 1
    assert found["rows"][0]["metrics"]["drift"] == 0.05
    assert found["summary"]["kl"]["metrics"]["turnover"]["mean"] is not None
    with reporting(full=True):
        for plugin in (comparison_tables, comparison_figures, comparison):
            plugin.contrail_comparison(comparison=found, directory=str(tmp_path))
    shown = capsys.readouterr().out
    assert "drift" in shown
    assert "turnover" in shown
    assert "lines through 6 runs" in " ".join(shown.split())
    assert (tmp_path / "compare.drift.png").read_bytes().startswith(b"\x89PNG")
    assert "sequential,drift," in (tmp_path / "compare.csv").read_text()


def test_two_runs_have_no_line(tmp_path: Path) -> None:
    found = compared({"sequential": [0.05], "kl": [0.01], "frozen": [None]})
    assert [fit["slope"] for fit in found["forgetting_over_drift"]["fits"].values()] == [None, None]
    assert found["forgetting_over_drift"]["left_out"] == ["frozen"]
    assert found["undefined"]["drift"] == {"frozen": "needs evaluate.drift"}
    comparison_figures.contrail_comparison(comparison=found, directory=str(tmp_path))
    assert not (tmp_path / "compare.drift.png").exists()


def test_without_drift_a_comparison_says_nothing_of_it() -> None:
    found = compared({"sequential": [None], "kl": [None]})
    assert found["forgetting_over_drift"] is None
    assert "drift" not in found["summary"]["kl"]["metrics"]
    assert "drift" not in found["undefined"]


def test_runs_of_a_version_without_drift_are_comparable() -> None:
    runs = [row(name, [[0.1, 0.1, 0.1]] * 3) for name in ("sequential", "kl")]
    runs[1].config["evaluate"] = {**runs[1].config["evaluate"], "drift": False}
    check_comparable(runs)


def test_a_divergence_is_not_below_0() -> None:
    found = compared({"one": [0.0, 0.001, 0.05], "other": [0.01, 0.02, 0.03]})
    low, high = found["summary"]["one"]["metrics"]["drift"]["interval"]
    assert low == 0.0
    assert high > 0.05
