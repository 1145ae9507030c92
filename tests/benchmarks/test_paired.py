"""Evaluations are compared task by task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.paired import line, main, mean_scores
from contrail.errors import ContrailError


def written(file: Path, scores: dict[str, float]) -> Path:
    file.write_text(json.dumps({"craft": {"scores": scores}}))
    return file


def test_the_interval_holds_the_truth_and_nought_for_one_policy() -> None:
    """Of two policies whose chances differ by 0.2, and of one that is played twice."""
    rng = np.random.default_rng(0)
    held = {0.0: 0, 0.2: 0}
    for truth in held:
        for _ in range(200):
            chances = rng.uniform(0.1, 0.7, 100)
            first, second = rng.random(100) < chances + truth, rng.random(100) < chances
            said = line("x", dict(enumerate(first * 1.0)), dict(enumerate(second * 1.0)))  # type: ignore[arg-type]
            low, high = said.partition("[")[2].partition("]")[0].split(", ")
            held[truth] += float(low) <= truth <= float(high)
    assert min(held.values()) >= 0.9 * 200


def test_seeds_are_averaged_by_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = [written(tmp_path / f"{n}.json", {"a": 1.0, "b": float(n)}) for n in range(2)]
    before = [written(tmp_path / "before.json", {"a": 0.0, "b": 0.0})]
    assert mean_scores(after, "craft") == {"a": 1.0, "b": 0.5}
    base: list[Any] = [{"baselines": {"random": {"scores": {"a": 0.5}}, "expert": None}}]
    (tmp_path / "base.json").write_text(json.dumps(base))
    main("craft", after, before, tmp_path / "base.json")
    said = capsys.readouterr().out
    assert "after: 0.750\nbefore: 0.000\nafter less before: +0.750 [" in said
    assert "before less random: -0.500 [" in said
    assert "expert" not in said


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one, other = written(tmp_path / "1", {"a": 1.0}), written(tmp_path / "2", {"b": 1.0})
    with pytest.raises(ContrailError, match="have other tasks"):
        mean_scores([one, other], "craft")
    with pytest.raises(ContrailError, match="no environment 'maze': craft"):
        mean_scores([one], "maze")
    with pytest.raises(ContrailError, match="no task in common"):
        line("x", {"a": 1.0}, {"b": 1.0})
