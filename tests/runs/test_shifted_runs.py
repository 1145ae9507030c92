"""Interface reliance, as an instrument: columns alike, nothing learnt, scores made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contrail.config import RunConfig, load, to_yaml
from contrail.errors import ContrailError
from contrail.intervals import difference_interval
from contrail.metrics.reliance import at_the_end, reliance
from contrail.metrics.task_scores import TaskScores
from contrail.plugins.reports.why import interface
from contrail.runs.launch import run_stream

DOORS = """
import contrail

class Doors(contrail.Environment):
    system_prompt = "Find the way out. Actions: open X, wait."
    forms = ("open {X}", "wait")
    max_turns = 2

    def tasks(self, split):
        return [contrail.Task("doors", f"{split}/{i}", i, split) for i in range(12)]

    def reset(self, task):
        self.door = f"open {'red blue'.split()[task.seed % 2]} door"
        return self.seen(f"Room {task.seed}.")

    def step(self, action):
        won = action == self.door
        valid = action in self.seen("").actions
        return contrail.Step(self.seen("On."), float(won), won, success=won, valid=valid)

    def seen(self, text):
        return contrail.Observation(text, ["open red door", "open blue door", "wait"])

@contrail.hookimpl
def contrail_environments(register):
    register("doors", Doors)
"""
STREAM = """
model: tiny-random
plugins: [doors.py]
stream:
  - environment: doors
    updates: 2
evaluate:
  tasks: 12
  baselines: false
  environments:
    - {name: doors, label: same, shift: {actions: every}}
    - {name: doors, label: renamed, shift: {alias: 1}}
    - {name: doors, label: noisy, shift: {distract: 2}}
    - {name: doors, label: both, shift: {alias: 1, distract: 2}}
    - {name: doors, label: short, max_turns: 1, shift: {alias: 1}}
grpo: {num_generations: 4, generation_batch_size: 16, learning_rate: 3e-2}
"""
ORIGINALS = {"same": "doors", "renamed": "doors", "noisy": "doors", "both": "noisy"}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    (tmp_path / "doors.py").write_text(DOORS)
    path = tmp_path / "stream.yaml"
    path.write_text(STREAM)
    return path


def run(stream: Path, *overrides: str, name: str = "run") -> dict[str, Any]:
    out = run_stream(stream, overrides, out=stream.parent / name, quiet=True).path
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def test_of_a_run(stream: Path) -> None:
    content = run(stream)
    found = content["interface"]
    assert {name: lost["original"] for name, lost in found.items()} == ORIGINALS
    assert found["same"]["value"] == [0.0, 0.0]
    rows = [{name: cell["scores"] for name, cell in row.items()} for row in content["evaluations"]]
    assert rows[1]["same"] == rows[1]["doors"]
    for name, original in ORIGINALS.items():
        for row, value in zip(rows, found[name]["value"], strict=True):
            lost = [row[original][task] - row[name][task] for task in row[name]]
            assert value == pytest.approx(np.mean(lost))
        assert found[name]["tasks"] == [12, 12]
    ends = [found[name]["value"][-1] for name in ("renamed", "both")]
    assert content["metrics"]["interface_reliance"] == pytest.approx(np.mean(ends))
    assert "interface_reliance" in content["formulas"]
    assert interface(content)[0].row_count == len(ORIGINALS)  # type: ignore[attr-defined]


def test_where_nothing_is_learnt_it_stays_as_it_is(stream: Path) -> None:
    content = run(stream, "grpo.learning_rate=0")
    for lost in content["interface"].values():
        assert lost["value"][0] == lost["value"][1]


def test_a_run_without_a_shift_has_none(stream: Path) -> None:
    content = run(stream, "evaluate.environments=[]", "stream.0.updates=0")
    assert "interface" not in content
    assert "interface_reliance" not in content["metrics"]
    assert interface(content) == []


def test_a_list_that_choose_never_shows_cannot_be_hidden(stream: Path) -> None:
    with pytest.raises(ContrailError, match=r"environment 'same': shift: actions is 'never', but"):
        run(stream, "evaluate.environments.0.shift.actions=never")


def test_versions_of_an_environment(stream: Path) -> None:
    config = load(stream, ["stream.0.adapter=react"])[0]
    labels = [item.label for item in config.environments]
    assert {name: config.original(name) for name in labels} == {
        **dict.fromkeys(["doors", "short"]),
        **ORIGINALS,
    }
    assert config.dice_of("both") == "doors"
    adapters = {name: config.adapter_of(name).name for name in labels}
    assert adapters == {**dict.fromkeys([*ORIGINALS, "doors"], "react"), "short": "choose"}
    assert "shift" not in to_yaml(config).split("evaluate:")[0]
    again = stream.parent / "again.yaml"
    again.write_text(to_yaml(config))
    read: RunConfig = load(again)[0]
    assert read == config


def test_it_is_paired_by_task_and_leaves_out_what_one_lacks() -> None:
    scores = {
        "plain": np.array([[1.0, 1.0, 0.0, np.nan]]),
        "renamed": np.array([[0.0, 1.0, 0.0, 1.0]]),
        "other": np.array([[1.0]]),
    }
    tasks = {"plain": ["a", "b", "c", "d"], "renamed": ["a", "b", "c", "d"], "other": ["x"]}
    results = TaskScores(scores, [], [], tasks)
    found = reliance(results, {"renamed": "plain"})["renamed"]
    expected = difference_interval([1.0, 0.0, 0.0])
    assert found["value"] == [pytest.approx(1 / 3)]
    assert found["interval"] == [expected.interval]
    assert found["tasks"] == [3]
    assert at_the_end(results, {"renamed": "plain"}, ["renamed"]).value == found["value"][0]
    assert at_the_end(results, {"renamed": "plain"}, ["other"]).value is None
    assert reliance(results, {"other": "plain"})["other"]["value"] == [None]
