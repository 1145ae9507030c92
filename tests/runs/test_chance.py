"""Stages at chance, waits and a model without a chat template: the user is told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail.baselines import Baseline
from contrail.metrics.scores import Scores
from contrail.rollout import watchdog
from contrail.rollout.watchdog import Wait, Watchdog
from contrail.runs import chance

ENVIRONMENTS = """
import time
import contrail


class Coin(contrail.Environment):
    slow = 0.0

    def tasks(self, split):
        return [contrail.Task("coin", f"{split}-{n}", n, split) for n in range(40)]

    def reset(self, task):
        self.task = task
        if task.split == "train":
            time.sleep(self.slow)
        return contrail.Observation("Choose.", ["left", "right"])

    def step(self, action):
        won = action == "left"
        seen = contrail.Observation("Done.", ["left", "right"])
        return contrail.Step(seen, float(won), terminated=True, success=won)


class Slow(Coin):
    slow = 0.1


@contrail.hookimpl
def contrail_environments(register):
    register("coin", Coin)
    register("slow", Slow)
"""
STREAM = """
model: tiny-random
plugins: [coin.py]
trackers: []
stream: [{environment: coin, updates: 2}, {environment: slow, updates: 1, train: {tasks: 1}}]
evaluate: {tasks: 32}
grpo: {num_generations: 8, generation_batch_size: 32, learning_rate: 1e-9}
"""


def test_a_run_that_learns_nothing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coin.py").write_text(ENVIRONMENTS)
    (tmp_path / "stream.yaml").write_text(STREAM)
    monkeypatch.setattr(watchdog, "AFTER", 0.02)
    run = contrail.run(tmp_path / "stream.yaml", out=tmp_path / "out")
    said = capsys.readouterr().err
    # A learning rate near 0: chance at first, chance at last.
    assert [stage["environments"] for stage in run.record["at_chance"]] == [["coin"], ["slow"]]
    assert "coin is not shown to be above random play: " in said
    assert "baselines of slow: waiting for" not in said  # its test tasks are quick
    # Every training episode of `slow` takes 0.1 s to begin.
    assert "slow 1/1: waiting for the environment slow for 0 s: reset in task train-0" in said
    assert run.record["waits"]
    assert {(w["environment"], w["task"]) for w in run.record["waits"]} == {("slow", "train-0")}
    assert len(run.record["training"][0]["coin"]) == 2
    assert [made for made, _ in run.record["training"][0]["coin"]] == [1, 2]
    run.report()
    shown = " ".join(capsys.readouterr().out.split())
    assert "coin, slow are not shown to be above random play. " in shown
    assert "The run waited for slow" in shown


class Few:
    """What `chance` reads of a run."""

    def __init__(self, policy: list[float], random: list[float]) -> None:
        def scores(values: list[float]) -> dict[str, float | None]:
            return {str(n): value for n, value in enumerate(values)}

        played = scores(random)
        mean = float(numpy.mean(random))
        random_play = Baseline(played, mean, mean, 1.0, 0.0, 0.0, 10)
        own = Scores(scores(policy), {}, {})
        self.evaluations = [{"a": own}, {"a": own}]
        self.baselines = {"a": {"random": random_play}}
        self.own = self.meant = [["a"]]
        self.made = [4]
        self.training = [{"a": [[n, 1.0 if n < 3 else numpy.mean(policy)] for n in range(1, 5)]}]


def trained(difficulty: str | None = None, updates: int = 8) -> contrail.Stage:
    task = contrail.Task("a", "t", 0, "train", difficulty)
    return contrail.Stage("a", {"a": [task]}, {}, updates)


def test_chance_is_told_as_often_as_its_level_says() -> None:
    """A policy that plays like random is nearly always told; one far above it never."""
    rng = numpy.random.default_rng(0)
    told = {0.3: 0, 0.9: 0}
    for _ in range(200):
        random = rng.binomial(10, 0.3, size=48) / 10
        for level in told:
            policy = rng.binomial(1, level, size=48).astype(float)
            run: Any = Few(policy.tolist(), random.tolist())
            told[level] += chance.at_chance(run) == [["a"]]
    assert told[0.3] >= 190  # the interval lies above 0 in 2.5% of all cases
    assert told[0.9] == 0


@pytest.mark.parametrize(("level", "told"), [(0.3, True), (0.9, False)])
def test_chance_is_told_in_the_middle_of_a_stage(level: float, told: bool) -> None:
    """By the last quarter of what was played: of 8 updates, 2."""
    run: Any = Few([level] * 20, [0.2, 0.4] * 24)
    said = chance.half_way(run, trained(), 1, size=16)
    assert bool(said) == told
    assert chance.half_way(run, trained(), 1, size=4) == []  # too few episodes
    assert chance.half_way(run, trained(updates=12), 1, size=16) == []  # not the middle


def test_worse_than_random_play_is_not_said_to_be_like_it() -> None:
    """A policy that has collapsed solves nothing; random play solves half."""
    run: Any = Few([0.0] * 48, [0.5] * 48)
    (end,) = chance.after_stage(run, 1)
    (middle,) = chance.half_way(run, trained(), 1, size=16)
    assert end.startswith("a is below random play: -0.50 [")
    assert middle.startswith("a is below random play after 4 of 8 updates")
    assert "cannot be told" not in end
    (even,) = chance.after_stage(Few([0.0, 1.0] * 24, [0.5] * 48), 1)  # type: ignore[arg-type]
    assert even.startswith("a is not shown to be above random play: +0.00 [")
    assert "]. Train for more updates" in even
    few = Few([1.0] * 2, [0.0, 1.0])
    (more,) = chance.after_stage(few, 1)  # type: ignore[arg-type]
    assert "]. Evaluate more tasks" in more


def test_training_on_easy_tasks_is_not_compared_with_random_play_on_hard_ones() -> None:
    """Random play solves 0.9 of the easy tasks and none of the hard: only easy ones count."""
    run: Any = Few([0.6] * 48, [0.9, 0.0] * 24)
    easy = {str(n): "hard" if n % 2 else "easy" for n in range(48)}
    run.evaluations = [{"a": Scores(run.evaluations[0]["a"].scores, {}, {}, easy)}]
    assert len(chance.half_way(run, trained("easy"), 1, size=16)) == 1
    assert chance.half_way(run, trained("hard"), 1, size=16) == []
    assert chance.half_way(run, trained("other"), 1, size=16) == []  # none is tested


def test_without_random_play_nothing_is_said() -> None:
    run: Any = Few([0.0] * 4, [0.0] * 4)
    run.baselines = {}
    assert chance.at_chance(run) == [[]]


def test_a_wait_is_told_while_it_lasts_and_when_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchdog, "AFTER", 0.02)
    told = threading.Event()
    heard: list[tuple[Wait, bool]] = []

    def tell(wait: Wait, ended: bool) -> None:
        heard.append((wait, ended))
        told.set()

    with Watchdog(tell) as dog:
        with dog.watching("maze", "t-1", "step('go')", 60.0):
            assert told.wait(60)  # it does not end before it is told
        during = len(heard)
        assert [ended for _, ended in heard] == [False] * (during - 1) + [True]
        assert "maze" in str(heard[0][0])
        assert "step('go') in task t-1; it is ended after 60 s (step_timeout)" in str(heard[0][0])
        with dog.watching("maze", "t-2", "reset"):
            pass
        assert len(heard) == during  # quick calls are not told


def test_waits_of_players_without_a_model_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = ENVIRONMENTS.replace('if task.split == "train":', "if task.seed < 30:")
    (tmp_path / "coin.py").write_text(everywhere)
    stream = STREAM.replace("tasks: 32", "tasks: 8")
    (tmp_path / "stream.yaml").write_text(stream)
    monkeypatch.setattr(watchdog, "AFTER", 0.02)
    contrail.run(tmp_path / "stream.yaml", out=tmp_path / "out")
    said = capsys.readouterr().err
    assert "baselines of slow: waiting for the environment slow for 0 s: reset in task " in said
    contrail.estimate(tmp_path / "stream.yaml", quiet=True)
    assert "waiting for the environment slow" in capsys.readouterr().err


def test_a_call_that_raises_is_no_longer_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "AFTER", 0.02)
    heard: list[Wait] = []
    with Watchdog(lambda wait, ended: heard.append(wait)) as dog:
        with pytest.raises(ValueError, match="broken"), dog.watching("maze", "t", "reset"):
            raise ValueError("broken")
        threading.Event().wait(0.2)
    assert heard == []
