"""What a run's numbers are of: whose episodes were learnt from, whose dice were thrown, curves."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contrail.errors import ContrailError
from contrail.model.policy import Policy
from contrail.runs import rollouts
from contrail.runs.launch import run_stream
from contrail.tables import curve_rows, mean_and_least

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAM = """
model: tiny-random
plugins: [guess.py, own.py]
stream:
  - environment: {name: guess-number, label: first, max_turns: 2}
    updates: 2
  - environment: {name: guess-number, label: second, max_turns: 2}
    updates: 2
evaluate: {tasks: 5, samples: 2}
grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}
"""
OWN = """
import contrail

class Swapped(contrail.Strategy):
    '''Plays the other stage's environment, whatever a stage is meant for.'''

    def begin(self, trainer, stages):
        self.stages_ = list(stages)

    def draw(self, stage, update, count, rng):
        other = next(item for item in self.stages_ if item.name != stage.name)
        return other.sample(count, rng)

class Short(contrail.Strategy):
    def draw(self, stage, update, count, rng):
        return stage.sample(count - 1, rng)

@contrail.hookimpl
def contrail_strategies(register):
    register("swapped", Swapped)
    register("short", Short)
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The result of a run of the stream with overrides."""
    shutil.copy(EXAMPLES / "guess.py", tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "stream.yaml").write_text(STREAM)

    def go(*overrides: str, name: str = "run") -> dict[str, Any]:
        path = run_stream(tmp_path / "stream.yaml", overrides, out=tmp_path / name, quiet=True).path
        content: dict[str, Any] = json.loads((path / "result.json").read_text())
        return content

    return go


def test_trained_on_is_what_updates_learnt_from(run: Run) -> None:
    content = run()
    assert content["trained"] == content["own"] == [["first"], ["second"]]
    assert content["played"] == [{"first": 8}, {"second": 8}]


def test_a_stage_without_updates_trained_on_nothing(run: Run) -> None:
    content = run("stream.0.updates=0")
    assert content["trained"] == [[], ["second"]]
    assert content["metrics"]["delta_held_out"] is not None  # of `first`
    assert content["metrics"]["backward_transfer"] is None


def test_a_weight_of_0_is_no_training(run: Run) -> None:
    content = run("strategy={name: mixture, weights: {first: 1, second: 0}}")
    assert content["trained"] == [["first"]]
    assert content["metrics"]["delta_held_out"] is not None


def test_a_strategy_that_plays_other_environments(run: Run) -> None:
    content = run("strategy=swapped")
    assert content["trained"] == [["second"], ["first"]]
    assert content["own"] == [[], []]
    # Of `first`, by the first stage, which was meant for it and played `second`.
    assert content["metrics"]["forward_transfer"] is not None
    R = content["R"]
    assert content["metrics"]["forward_transfer"] == pytest.approx(R[1][0] - R[0][0])
    assert content["metrics"]["backward_transfer"] == pytest.approx(R[2][1] - R[1][1])


def test_what_replay_plays_again_is_not_the_stage_s_own(run: Run) -> None:
    content = run("strategy={name: replay, fraction: 0.5}")
    assert content["trained"] == [["first"], ["first", "second"]]
    assert content["own"] == [["first"], ["second"]]
    assert content["metrics"]["backward_transfer"] is not None


def test_a_draw_of_another_number_of_tasks_is_refused(run: Run) -> None:
    with pytest.raises(ContrailError, match="short"):
        run("strategy=short")


def dice(tmp_path: Path, name: str, stage: int = 0) -> dict[tuple[str, str, int], list[Any]]:
    """What was chosen, by environment, task and sample."""
    log = tmp_path / name / "episodes" / f"{stage:03d}-evaluate.jsonl.gz"
    found = {}
    with gzip.open(log, "rt") as lines:
        for episode in map(json.loads, lines):
            key = (episode["environment"], episode["task"], episode["sample"])
            found[key] = [turn["choice"] for turn in episode["turns"]]
    return found


def test_dice_are_common_to_stages_and_differ_between_seeds_and_labels(
    run: Run, tmp_path: Path
) -> None:
    """At learning rate 0 the policy is the same throughout, so equal dice are equal choices."""
    run("grpo.learning_rate=0", name="zero")
    run("grpo.learning_rate=0", "seed=1", name="one")
    base = dice(tmp_path, "zero")
    assert base == dice(tmp_path, "zero", 1) == dice(tmp_path, "zero", 2)
    other = dice(tmp_path, "one")
    assert sum(base[key] != other[key] for key in base) > len(base) / 2
    labels = [key for key in base if key[0] == "first"]
    same = sum(base[key] == base["second", *key[1:]] for key in labels)
    assert same < len(labels) / 2


def test_at_learning_rate_0_every_change_and_metric_is_0(run: Run) -> None:
    content = run("grpo.learning_rate=0", "evaluate.every=1")
    assert content["R"][0] == content["R"][1] == content["R"][2]
    for name, value in content["metrics"].items():
        low, high = content["metric_intervals"][name] or [0, 0]
        if name not in ("average_score", "worst_environment") and value is not None:
            assert value == 0.0
            assert low <= 0 < high
            assert low < 0 or name in ("turnover", "gained")
    for found in content["turnover"].values():
        assert found["lost"]["value"] == found["gained"]["value"] == 0.0
    for stage in content["curves"]:
        for curve in stage.values():
            assert len({success for _, success in curve}) == 1


def test_learning_curves_are_evaluations_on_the_test_tasks(run: Run) -> None:
    content = run("evaluate.every=1")
    assert [list(stage) for stage in content["curves"]] == [["first", "second"]] * 2
    for stage, curves in enumerate(content["curves"]):
        for column, curve in enumerate(curves.values()):
            assert [update for update, _ in curve] == [0, 1, 2]
            assert curve[0][1] == content["R"][stage][column]
            assert curve[-1][1] == content["R"][stage + 1][column]
    sparse = run("evaluate.every=5", name="sparse")
    assert [update for update, _ in sparse["curves"][0]["first"]] == [0, 2]
    assert sparse["R"] == content["R"]  # curves change nothing
    assert run(name="without")["curves"] == [{}, {}]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The environments of the evaluations that are played, as they are made."""
    names = []
    original = rollouts.evaluate

    def evaluate(*arguments: Any, **values: Any) -> Any:
        names.append(arguments[2])
        return original(*arguments, **values)

    monkeypatch.setattr(rollouts, "evaluate", evaluate)
    return names


def test_an_evaluation_of_the_same_policy_is_made_once(
    run: Run, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = run("evaluate.every=1")
    # The base model, and after each of four updates that made a step; rows of R are among these.
    assert made[:2] == ["first", "second"]
    assert 2 < len(made) <= 2 * 5
    made.clear()
    monkeypatch.setattr(Policy, "has", lambda self, snapshot: False)
    again = run("evaluate.every=1", name="again")
    assert made == ["first", "second"] * (3 + 2 * 3)
    assert {key: again[key] for key in ("R", "curves", "evaluations")} == {
        key: content[key] for key in ("R", "curves", "evaluations")
    }


def test_a_stage_without_updates_is_not_evaluated_again(
    run: Run, made: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = run("stream.0.updates=0")
    assert made == ["first", "second"] * 2
    monkeypatch.setattr(Policy, "has", lambda self, snapshot: False)
    again = run("stream.0.updates=0", name="again")
    assert made == ["first", "second"] * (2 + 3)
    assert (again["R"], again["evaluations"]) == (content["R"], content["evaluations"])
    logs = [tmp_path / name / "episodes/001-evaluate.jsonl.gz" for name in ("run", "again")]
    one, other = (gzip.decompress(path.read_bytes()) for path in logs)
    assert one == other


def test_curves_are_of_the_policies_that_play(run: Run) -> None:
    """With a LoRA per environment, a stage changes its own environment alone."""
    content = run("strategy=adapters", "evaluate.every=1", "grpo.learning_rate=1e-1")
    first, second = content["curves"]
    for curve in (first["second"], second["first"]):
        assert len({success for _, success in curve}) == 1
    assert second["first"][0][1] == content["R"][1][0]
    assert second["second"][-1][1] == content["R"][2][1]


@pytest.mark.parametrize("start", ["base", "merged"])
def test_curves_are_of_the_agent(run: Run, start: str) -> None:
    """What begins with the base model is no part of the agent before it is merged."""
    strategy = f"strategy={{name: merge, start: {start}}}"
    content = run(strategy, "evaluate.every=1", "grpo.learning_rate=1e-1")
    first, second = content["curves"]
    if start == "base":
        assert (list(first), list(second)) == (["first"], ["second"])
        rows = curve_rows(content)
        assert all(item["mean"] is None for item in mean_and_least(rows, "success"))
    else:
        assert second["first"][0][1] == content["R"][1][0]
