"""What a run will cost: the extrapolation, and that measuring leaves no trace."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.comparison.cost import costs
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.registry.plugins import load_plugins
from contrail.runs import assemble, measure
from contrail.runs.estimate import Estimate, Measured, Part, duration, short, size, table
from contrail.runs.following import Following
from contrail.runs.interrupt import Interrupted, Interruption
from contrail.runs.launch import estimate_stream, run_stream
from contrail.runs.measure import TooLong
from contrail.runs.position import Course, work

ENVIRONMENTS = """
import contrail


class Left(contrail.Environment):
    def tasks(self, split):
        return [contrail.Task("left", f"{split}-{n}", n, split) for n in range(6)]

    def reset(self, task):
        self.turns = 0
        return contrail.Observation(f"Choose {task.id}.", ["left", "right"])

    def step(self, action):
        self.turns += 1
        won = action == "left"
        seen = contrail.Observation("Again.", ["left", "right"])
        done = self.turns == 2
        return contrail.Step(seen, float(won), terminated=done, success=won and done)


class Right(Left):
    pass


@contrail.hookimpl
def contrail_environments(register):
    register("left", Left)
    register("right", Right)
"""
STREAM = """
model: tiny-random
plugins: [sides.py]
trackers: []
stream:
  - {environment: left, updates: 2}
  - {environment: right, updates: 1}
evaluate: {tasks: 4, samples: 2, every: 2}
grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    (folder / "sides.py").write_text(ENVIRONMENTS)
    (folder / "stream.yaml").write_text(STREAM)
    return folder / "stream.yaml"


def part(points: list[tuple[int, float]], episodes: float = 64, times: int = 3) -> Part:
    made = [Measured(n, wall, wall / 2, int(1e9 * wall), written=10 * n) for n, wall in points]
    return Part("evaluation", "a", episodes, times, points=made)


def test_a_cost_that_is_a_line_is_extrapolated_exactly() -> None:
    cost = part(
        [(1, 9.0), (4, 2 + 0.5 * 4), (16, 2 + 0.5 * 16)]
    )  # the first is slow, to begin with
    assert cost.at("wall") == pytest.approx(2 + 0.5 * 64)
    assert cost.total("cpu") == pytest.approx(3 * (2 + 0.5 * 64) / 2)
    assert cost.at("written") == pytest.approx(640)
    assert cost.peak == pytest.approx(1e9 * (2 + 0.5 * 64))


def test_what_was_measured_in_full_is_taken_as_measured() -> None:
    assert part([(16, 5.0), (64, 3.0)]).at("wall") == 3.0  # even where more took less


def test_one_measurement_is_in_proportion_but_memory_stays() -> None:
    cost = part([(4, 1.0)])
    assert cost.at("wall") == 16.0
    assert cost.at("memory") == 1e9


def test_texts_name_sizes() -> None:
    assert [duration(s) for s in (0.2, 40, 600, 7800, 3 * 86400)] == [
        "1 s",
        "40 s",
        "10 min",
        "2 h 10 min",
        "3.0 days",
    ]
    assert [size(912e6), size(1.24e9)] == ["912 MB", "1.2 GB"]
    found = Estimate("a", 3, 24, 40, [part([(64, 2.0)])], setup=(4.0, 2.0))
    assert "64 episodes: 24 in training, 40 in evaluations" in short(found)
    assert "about 10 s" in short(found)  # 4 s, and three times 2 s
    assert dict(table(found))["time"].startswith("about 10 s (5 s of processor time)")


def files(run: Path) -> dict[str, bytes]:
    """The weights and the episodes of a run."""
    logs = {p.name: gzip.decompress(p.read_bytes()) for p in (run / "episodes").iterdir()}
    weights = run.glob("checkpoints/*/adapter_model.safetensors")
    return logs | {p.parent.name: p.read_bytes() for p in weights}


@pytest.mark.parametrize("cut_short", [False, True])
def test_measuring_leaves_no_trace(
    stream: Path,
    tmp_path: Path,
    cut_short: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = run_stream(stream, out=tmp_path / "plain", quiet=True).path
    monkeypatch.setattr(assemble, "LONG", 1)
    monkeypatch.setattr(assemble, "START", 1000.0)
    if cut_short:
        learn = measure.Measurement._learn

        def interrupted(*arguments: Any) -> Any:
            learn(*arguments)  # so the policy has changed
            raise TooLong

        monkeypatch.setattr(measure.Measurement, "_learn", interrupted)
    measured = run_stream(stream, out=tmp_path / "measured").path
    said = capsys.readouterr().err
    assert ("from a few measured steps" in said) != cut_short
    assert "at most 72 episodes: 24 in training, at most 48 in evaluations" in said
    assert files(plain) == files(measured)


def test_a_dry_run_counts_and_writes_nothing(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = estimate_stream(stream, quiet=True)
    assert not list(tmp_path.iterdir())
    run = contrail.run(stream, out=tmp_path / "run", quiet=True)
    budget = run.record["budget"]
    assert (found.updates, found.training) == (budget["updates"], budget["episodes"])
    # Evaluations before and after each stage; those within stages are of the same policies.
    assert found.evaluation == 3 * 2 * 4 * 2
    # Two turns of one choice each: the longest has one token more or less than what was written.
    expected, bound = found.written
    assert 0 < expected <= bound
    kinds = [(item.kind, item.name, item.times) for item in found.parts]
    assert kinds == [
        ("evaluation", "left", 3),
        ("evaluation", "right", 3),
        ("playing", "left", 2),
        ("learning", "left", 2),
        ("playing", "right", 1),
        ("learning", "right", 1),
    ]
    assert json.dumps(found.record())
    with gzip.open(run.directory / "episodes/000-evaluate.jsonl.gz", "rt") as lines:
        longest = max(len(json.loads(line)["token_ids"]) for line in lines)
    assert found.longest >= longest  # the same tasks and dice are among those measured


def test_a_comparison_measures_what_its_strategies_share_once(
    stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    timed = measure.Measurement._timed

    def watched(self: Any, part: Part, work: Any) -> Any:
        made.append(f"{part.kind} {part.name}")
        return timed(self, part, work)

    monkeypatch.setattr(measure.Measurement, "_timed", watched)
    other = {"name": "sequential", "label": "other", "set": {"stream.1.learn": "gigpo"}}
    fewer = {"name": "sequential", "label": "fewer", "set": {"stream.0.train": {"tasks": 3}}}
    for strategies in (["sequential"], ["sequential", "replay", "mixture", other, fewer]):
        made.clear()
        _, found = contrail.api.estimate_comparison(stream, strategies=strategies, quiet=True)
        if len(strategies) == 1:
            alone = set(made)
    assert set(made) - alone == {"playing mixture", "learning mixture"}
    first, replay, mixture, another, third = (cost.one for cost in found)
    assert [part.points for part in replay.parts] == [part.points for part in first.parts]
    assert replay.longest == first.longest
    assert [part.points for part in mixture.parts[:2]] == [part.points for part in first.parts[:2]]
    same = [a.points == b.points for a, b in zip(first.parts, another.parts, strict=True)]
    assert same == [True] * 4 + [False] * 2  # the second stage learns by something else
    same = [a.points == b.points for a, b in zip(first.parts, third.parts, strict=True)]
    assert same == [True, True, False, False, True, True]  # the first stage has fewer tasks


def test_a_comparison_counts_shared_rows_once(stream: Path) -> None:
    plugins = load_plugins()
    options = ComparisonOptions(strategies=["sequential", "frozen"], seeds=[0, 1])
    plan = read_plan(stream, (), options, plugins)
    evaluations = [Part("evaluation", n, 8, 3, points=[Measured(8, 1, 1, 0)]) for n in "ab"]
    stages = [Part("playing", n, 8, 2, points=[Measured(8, 5, 5, 0)]) for n in "ab"]
    parts = [*evaluations, *stages]
    sequential = Estimate("s", 4, 32, 48, parts, setup=(7.0, 7.0), course=Course((2, 2)))
    once = [Part("evaluation", n, 8, 1, points=[Measured(8, 1, 1, 0)]) for n in "ab"]
    frozen = Estimate("f", 0, 0, 16, once, setup=(7.0, 7.0), course=Course((0, 0)))
    measured = {"sequential": sequential, "frozen": frozen}
    alone = costs(plan, measured, plugins, sharing=False)
    assert [cost.seconds for cost in alone] == [2 * (7 + 20 + 6), 2 * (7 + 2)]
    shared = costs(plan, {**measured, "frozen": sequential}, plugins, sharing=True)
    # The second strategy takes over the base model's evaluation, of each seed.
    assert [cost.seconds for cost in shared] == [2 * (7 + 20 + 6), 2 * (7 + 20 + 4)]
    # The untrained model itself evaluates once, be it before the first stage or after it.
    shared = costs(plan, measured, plugins, sharing=True)
    assert shared[1].seconds == alone[1].seconds


def test_an_interrupted_run_numbers_its_work_as_if_it_had_not_been(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [12]

    def check(self: Interruption) -> None:
        left[0] -= self.deferred
        if left[0] == 0:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(Interruption, "check", check)
    several = ["checkpoint.updates=1"]
    with pytest.raises(Interrupted):
        run_stream(stream, several, out=tmp_path / "run", quiet=True)
    run_stream(stream, several, out=tmp_path / "run", quiet=True)
    run = Following(tmp_path / "run")
    assert run.look() == "finished"
    updates, evaluations = work([2, 1], every=2)
    numbers = {("update", n) for n in range(1, updates + 1)}
    numbers |= {("evaluation", n) for n in range(1, 2 * evaluations + 1)}
    assert set(run.entries) == numbers
    result = json.loads((tmp_path / "run/result.json").read_text())
    points = [success for stage in result["training"] for _, success in stage.get("left", ())]
    assert run.success("left", "update") == pytest.approx(points)
