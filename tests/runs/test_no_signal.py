"""Updates that taught nothing: counted by stage and reason, and told with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import contrail
from contrail.environment import Task
from contrail.episode import Episode, Turn
from contrail.progress.reporter import entry, line
from contrail.runs.no_signal import ADVICE, Kind, kind_of, summary
from contrail.training.grpo import GRPO

ENVIRONMENTS = """
import contrail


class Fixed(contrail.Environment):
    won = False

    def tasks(self, split):
        return [contrail.Task(self.name, f"{split}-{n}", n, split) for n in range(4)]

    def reset(self, task):
        return contrail.Observation("Choose.", ["left", "right"])

    def step(self, action):
        won = action == "left" if self.won is None else self.won
        seen = contrail.Observation("Done.", ["left", "right"])
        return contrail.Step(seen, reward=float(won), terminated=True, success=won)


class Never(Fixed):
    name = "never"


class Always(Fixed):
    name, won = "always", True


class Left(Fixed):
    name, won = "left", None


@contrail.hookimpl
def contrail_environments(register):
    for cls in (Never, Always, Left):
        register(cls.name, cls)
"""
STREAM = """
model: tiny-random
plugins: [fixed.py]
trackers: []
stream:
  - {environment: never, updates: 3}
  - {environment: always, updates: 2}
  - {environment: left, updates: 1}
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 8, generation_batch_size: 32}
"""


def test_a_run_says_what_taught_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fixed.py").write_text(ENVIRONMENTS)
    (tmp_path / "stream.yaml").write_text(STREAM)
    run = contrail.run(tmp_path / "stream.yaml", out=tmp_path / "out")
    said = capsys.readouterr().err
    never, always, left = run.record["no_signal"]
    assert (never["updates"], never["made"], never["kinds"]) == (3, 3, {"failed": 3})
    assert (always["updates"], always["made"], always["kinds"]) == (2, 2, {"solved": 2})
    # A coin in each episode, 8 in each of 4 groups: it teaches something.
    assert (left["updates"], left["made"], left["advice"]) == (0, 1, None)
    assert said.count("nothing to learn from (all groups are zero-variance") == 5
    assert said.count(ADVICE["failed"]) == said.count(ADVICE["solved"]) == 1  # once a stage
    run.report()
    shown = " ".join(capsys.readouterr().out.split())
    assert "never: 3 of 3 updates taught nothing. There, every episode failed." in shown
    assert "always: 2 of 2 updates taught nothing. There, every episode succeeded." in shown
    assert "left: 0 of" not in shown


def episode(success: bool, fault: str | None = None, demonstrated: bool = False) -> Episode:
    task = Task("depot", "t", 0, "train")
    turns = [Turn([1], [2], [0.0], [0.0])]
    return Episode("depot", task, 0, turns, success=success, fault=fault, demonstrated=demonstrated)


@pytest.mark.parametrize(
    ("episodes", "kind"),
    [
        ([episode(False), episode(False)], "failed"),
        ([episode(True), episode(True)], "solved"),
        ([episode(True), episode(False)], "mixed"),
        ([episode(True), episode(False, fault="died")], "solved"),
        ([episode(False, fault="died")], "faults"),
        ([episode(False, demonstrated=True)], "demonstrated"),
        ([], "faults"),
    ],
)
def test_why_it_taught_nothing(episodes: list[Episode], kind: Kind) -> None:
    assert kind_of(episodes, GRPO()) == kind


def test_the_advice_is_that_of_the_commonest_reason() -> None:
    counts: list[dict[Kind, int]] = [{"failed": 1, "mixed": 2}, {}]
    first, second = summary([4, 5], counts)
    assert (first["updates"], first["made"], first["advice"]) == (3, 4, ADVICE["mixed"])
    assert (second["updates"], second["made"], second["advice"]) == (0, 5, None)


def test_the_line_says_it() -> None:
    said = line({"no_signal": 1.0, "zero_variance_groups": 1.0, "success": 0.0, "loss": 0.1})
    why = "all groups are zero-variance: their rewards are equal"
    assert said == f"nothing to learn from ({why}), success 0.00"
    assert "zero-variance groups 50%" in line({"no_signal": 0.0, "zero_variance_groups": 0.5})
    assert "nothing" not in line({"no_signal": 0.0, "zero_variance_groups": 1.0, "loss": 0.1})


def test_the_line_of_an_update_by_what_it_learns_from() -> None:
    said = line({"loss": 1.5, "failed_demonstrations": 0.25})
    assert said == "loss 1.500, failed demonstrations 25%"
    assert line({"failed_demonstrations": 1.0}).startswith("nothing to learn from")
    assert "loss" not in line({"loss": 1.5, "success": 0.5})
    taught = {"loss": 1.5, "success": 0.5, "divergence/north": 0.25, "divergence/south": 0.75}
    assert line(taught) == "success 0.50, divergence 0.500"
    kept = entry("both", 0, 1, taught)
    assert kept["divergence/south"] == 0.75
    assert kept["loss"] == 1.5
