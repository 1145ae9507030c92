"""Drift beside R, as an instrument: nothing changed, columns alike, a task missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contrail.metrics.drift import drift
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAM = """
model: tiny-random
plugins: [guess.py, frail.py]
stream:
  - environment: {name: guess-number, label: first, max_turns: 4}
    updates: 2
  - environment: {name: guess-number, label: second, max_turns: 4}
    updates: 2
  - environment: {name: guess-number, label: first, max_turns: 4}
    name: again
    updates: 1
evaluate: {tasks: 4, drift: true, baselines: false}
grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 3e-2}
"""
FRAIL = """
import os
import contrail

class Frail(contrail.Environment):
    max_turns = 2
    broken = False

    def tasks(self, split):
        return [contrail.Task("frail", f"{split}/{i}", i, split) for i in range(4)]

    def reset(self, task):
        if Frail.broken and task.id == "test/1":
            raise ValueError("it broke")
        return contrail.Observation("Left or right?", ["left", "right"])

    def step(self, action):
        return contrail.Step(contrail.Observation("On.", ["left", "right"]))

class Breaks(contrail.Strategy):
    def leave(self, context):
        Frail.broken = context.number == 2

@contrail.hookimpl
def contrail_environments(register):
    register("frail", Frail)

@contrail.hookimpl
def contrail_strategies(register):
    register("breaks", Breaks)
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The result of a run of the stream with overrides."""
    shutil.copy(EXAMPLES / "guess.py", tmp_path)
    (tmp_path / "frail.py").write_text(FRAIL)
    (tmp_path / "stream.yaml").write_text(STREAM)

    def go(*overrides: str, name: str = "run") -> dict[str, Any]:
        path = run_stream(tmp_path / "stream.yaml", overrides, out=tmp_path / name, quiet=True).path
        content: dict[str, Any] = json.loads((path / "result.json").read_text())
        return content

    return go


def values(content: dict[str, Any], kind: str = "base", unit: str = "per_decision") -> Any:
    return content["drift"][kind][unit]["value"]


@pytest.mark.parametrize("adapter", ["choose", "{name: react, max_new_tokens: 4}"])
@pytest.mark.parametrize("strategy", ["sequential", "adapters", "{name: merge, start: merged}"])
def test_at_learning_rate_0_there_is_none(run: Run, adapter: str, strategy: str) -> None:
    short = [f"stream.{stage}.updates=1" for stage in range(3)]
    content = run("grpo.learning_rate=0", f"adapter={adapter}", f"strategy={strategy}", *short)
    for kind in ("base", "previous"):
        assert values(content, kind)[0] == [None, None]
        assert max(max(row) for row in values(content, kind)[1:]) < 1e-6
        assert content["drift"][kind]["tasks"] == [[0, 0], *[[4, 4]] * 3]


@pytest.mark.parametrize("init", ["false", "orthogonal"])
def test_at_learning_rate_0_there_is_none_whatever_the_lora_begins_as(run: Run, init: str) -> None:
    content = run("grpo.learning_rate=0", f"lora.init_lora_weights={init}", name=init)
    for kind in ("base", "previous"):
        assert list(values(content, kind)[1:]) == [[0, 0]] * 3


def test_of_a_run(run: Run) -> None:
    content = run()
    base, previous = values(content), values(content, "previous")
    assert base[1] == previous[1]
    assert base[2] != previous[2]
    assert min(min(row) for row in base[1:]) > 1e-6
    for row in range(1, 4):
        for column in range(2):
            low, high = content["drift"]["base"]["per_decision"]["interval"][row][column]
            assert 0 <= low <= base[row][column] <= high
    # Every episode has one decision per turn, and at most four.
    assert values(content, unit="per_episode")[1][0] <= 4 * base[1][0] + 1e-12
    assert content["metrics"]["drift"] == pytest.approx(sum(base[3]) / 2)
    assert "KL" in content["formulas"]["drift"]
    without = run("evaluate.drift=false", name="without")
    assert "drift" not in {**without, **without["metrics"], **without["evaluations"][1]["first"]}
    assert without["R"] == content["R"]


def test_columns_alike_have_one_drift(run: Run) -> None:
    """Labels have dice of their own, so only greedy episodes are alike."""
    content = run("evaluate.decoding=greedy")
    for kind in ("base", "previous"):
        assert all(first == second for first, second in values(content, kind))


def test_a_lora_per_environment(run: Run) -> None:
    """Of the LoRA that plays, and of the one that played in the row before."""
    content = run("strategy=adapters")
    base, previous = values(content), values(content, "previous")
    assert base[1][1] == previous[1][1] == 0.0  # not trained yet
    assert base[2][0] == base[1][0] > 1e-6  # the first stage's LoRA still plays
    assert previous[2][0] == 0.0
    assert previous[2][1] == base[2][1] > 1e-6
    assert previous[3][1] == 0.0
    assert 0 < previous[3][0] != base[3][0]


def test_a_task_that_a_row_lacks_is_left_out_and_counted(run: Run) -> None:
    content = run("evaluate.environments=[frail]", "strategy=breaks")
    column = content["environments"].index("frail")
    counts = [row[column] for row in content["drift"]["base"]["tasks"]]
    assert counts == [0, 4, 3, 4]
    cells = content["evaluations"][2]["frail"]
    assert "test/1" not in cells["drift"]["base"]
    assert values(content)[2][column] == pytest.approx(
        sum(nats for _, nats in cells["drift"]["base"].values()) / 3
    )


def test_a_result_without_drift_has_no_matrix() -> None:
    assert drift({"environments": ["a"], "evaluations": [{"a": {"scores": {}}}]}) == {}
