"""The tables and files of a run that measures all there is: samples, curves, drift, failures."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contrail.plugins.reports import console, figures, table, why
from contrail.runs.launch import run_stream
from contrail.tables import curve_rows, mean_and_least

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = ("near", "supercalifragilisticexpialidocious", "far-away_and-long", "a", "b")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A result with everything in it, and the directory of its run."""
    directory = tmp_path_factory.mktemp("why")
    shutil.copy(EXAMPLES / "guess.py", directory)
    stages = [
        f"  - environment: {{name: guess-number, label: {label}, max_turns: 3}}\n    updates: 2"
        for label in LABELS
    ]
    (directory / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py]\nstream:\n" + "\n".join(stages) + "\n"
        "evaluate: {tasks: 2, samples: 2, every: 2, drift: true, baselines: false}\n"
        "grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}\n"
    )
    run = run_stream(directory / "stream.yaml", out=directory / "run", quiet=True).path
    return json.loads((run / "result.json").read_text()), run


def test_all_tables_fit_80_columns(
    measured: tuple[dict[str, Any], Path], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, run = measured
    monkeypatch.setenv("COLUMNS", "80")
    assert len(why.sections(result, 80)) == 5
    console.contrail_report(result, str(run))
    shown = capsys.readouterr().out
    for title in why.sections(result, 80):
        assert title in shown
    assert "Worst environment at the end" in shown
    assert all(len(line) <= 80 for line in shown.replace(str(run), "").splitlines())
    cells = result["drift"]["base"]["per_decision"]["value"][-1]
    assert all(why.nats(cell) in shown for cell in cells)


def test_curves_run_over_the_whole_stream(measured: tuple[dict[str, Any], Path]) -> None:
    result, run = measured
    rows = curve_rows(result)
    assert len(rows) == len(LABELS) * len(LABELS) * 2
    for label in LABELS:
        own = [row for row in rows if row["environment"] == label]
        assert [row["updates"] for row in own] == [0, 2, 2, 4, 4, 6, 6, 8, 8, 10]
        assert [row["updates"] for row in mean_and_least(rows, "success")] == [
            row["updates"] for row in own
        ]
    for row in rows:
        assert row["turns"] <= 3
        assert 0 <= row["pass@1"] <= row["pass@2"] <= 1
        assert row["avg@2"] == pytest.approx(row["success"])
    figures.contrail_report(result, str(run))
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    table.contrail_report(result, str(run))
    with open(run / "result.curves.csv", newline="") as file:
        assert [row["success"] for row in csv.DictReader(file)] == [
            "" if row["success"] is None else str(row["success"]) for row in rows
        ]
    with open(run / "result.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["drift_base_per_decision"]) == pytest.approx(
        result["drift"]["base"]["per_decision"]["value"][-1][-1]
    )


def test_over_all_environments_where_one_is_undefined() -> None:
    values = [("a", 0, 0.5), ("b", 0, 0.25), ("a", 2, 0.5), ("b", 2, None)]
    rows = [{"environment": e, "stage": 1, "updates": n, "success": v} for e, n, v in values]
    assert mean_and_least(rows, "success") == [
        {"stage": 1, "updates": 0, "mean": 0.375, "least": 0.25},
        {"stage": 1, "updates": 2, "mean": None, "least": None},
    ]


def test_a_result_of_an_earlier_version_has_none_of_them() -> None:
    cell = {"success": 0.5, "scores": {"a": 0.5}, "tasks": 1}
    old = {"environments": ["a"], "stages": [], "evaluations": [{"a": cell}]}
    assert why.sections(old, 80) == {}
    assert curve_rows(old) == []
