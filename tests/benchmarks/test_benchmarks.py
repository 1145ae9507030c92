"""The benchmarks, on a tiny model: they run, compare equal work, and notice what differs."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import bare, rollout
from benchmarks.__main__ import Command, app
from benchmarks.measure import Timings, alternate, ratio, timed
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.workload import QUICK, Endless, Settings, record, scripted, tasks, token_work
from contrail.environment import Task
from contrail.episode import Episode, Turn

import torch  # isort: skip
from transformers.cache_utils import Cache  # isort: skip

RATIOS = {
    "rollout": {"trl_rollout_func", "trl_environment_factory", "bare_loop"},
    "update": {"trl"},
    "step": {"trl", "overhead"},
    "choose": {"brute_force"},
    "scaling": {"turns_8_over_2", "trl_last_turn"},
    "environments": {"one_after_another", "with_start"},
    "waiting": {"waiting", "cpu"},
}
CHECKS = {
    "rollout": {"logprobs", "tokens_of_trl_rollout_func", "tokens_of_trl_environment_factory"},
    "update": {
        f"gradients_{loss}_beta_{beta}"
        for loss in ("grpo", "dapo", "dr_grpo", "gspo")
        for beta in ("0", "0.04")
    },
    "step": set(),
    "choose": {"choices", "choices_40_actions"},
    "scaling": set(),
    "environments": {"steps"},
    "waiting": set(),
}
QUICK_SETTINGS = Settings(**QUICK)


@pytest.mark.parametrize("command", list(Command))
def test_quick(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "made" / "result.json"
    done = CliRunner().invoke(app, [command, "--quick", "--json", str(file)])
    assert done.exit_code == 0, done.output
    result = json.loads(file.read_text())
    assert result["ratios"].keys() == result["targets"].keys() == RATIOS[command]
    assert all(math.isfinite(value) for value in result["ratios"].values())
    assert result["checks"].keys() == result["limits"].keys() == CHECKS[command]
    assert all(value <= result["limits"][name] for name, value in result["checks"].items())
    assert result["peak_gb"].keys() == result["rounds"].keys() == result["median_seconds"].keys()
    for name, measured in result["rounds"].items():
        assert len(measured["cpu"]) == len(measured["wall"]) == 1
        assert min(measured["cpu"] + measured["wall"]) > 0
        assert name in done.output
    assert result["settings"]["model"] == "tiny-random"
    assert result["machine"]["cpu"]


def test_a_wrong_log_probability_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any) -> list[Episode]:
        episodes = record(*args)
        episodes[0].turns[-1].logprobs[-1] += 0.01
        return episodes

    monkeypatch.setattr(rollout, "record", wrong)
    report = rollout.run(QUICK_SETTINGS)
    assert report.checks["logprobs"] == pytest.approx(0.01, abs=1e-4)
    assert report.failed() == ["logprobs"]
    monkeypatch.setattr(rollout, "run", lambda settings: report)
    done = CliRunner().invoke(app, ["rollout", "--quick"])
    assert done.exit_code == 1
    assert "failed" in done.output


def test_no_number_is_a_failure() -> None:
    report = Report("rollout", QUICK_SETTINGS)
    report.check("nothing", math.nan, 1.0)
    report.check("fine", 1.0, 1.0)
    assert report.failed() == ["nothing"]


def test_bad_settings() -> None:
    done = CliRunner().invoke(app, ["step", "--quick", "--trl-batch", "3"])
    assert done.exit_code == 2
    assert "does not divide" in done.output


# the workload


def test_episodes_are_equally_long_whatever_is_written() -> None:
    episodes = record(make_policy(QUICK_SETTINGS), QUICK_SETTINGS)
    assert len(episodes) == QUICK_SETTINGS.episodes
    for episode in episodes:
        assert [len(turn.written) for turn in episode.turns] == [4, 4]
    other = Settings(**QUICK | {"tokens": 3})
    again = record(make_policy(other), other)
    for ours, theirs in zip(episodes, again, strict=True):
        assert [turn.action for turn in ours.turns] == [turn.action for turn in theirs.turns]
    assert len({tuple(turn.action for turn in item.turns) for item in episodes}) > 2


def test_solved_tasks_begin_again() -> None:
    environment = Endless(10, 1)
    (task,) = tasks(Settings(**QUICK | {"tasks": 1}))
    start = environment.reset(task)
    expert = environment.expert(task)
    assert expert
    for action in expert:
        step = environment.step(action)
        assert not step.terminated
    assert step.success
    assert step.observation == start
    adapter = scripted(QUICK_SETTINGS, task, 0)
    assert adapter.parse("anything", start) == adapter.parse("else", start)
    assert adapter.parse("anything", start) in start.actions


def test_token_work_by_hand() -> None:
    def episode(*turns: tuple[list[int], list[int]]) -> Episode:
        made = [Turn(prompt, written, [], []) for prompt, written in turns]
        return Episode("e", Task("e", "t", 0, "train"), 0, made)

    first = episode(([1, 2, 3], [4, 5]), ([6], [7, 8]))  # all but the 8: 7
    second = episode(([1, 2, 3], [4, 9]), ([6], [7, 8]))  # its 9, 6 and 7: 3 more
    third = episode(([1, 3], [2]))  # its 3: 1 more
    assert token_work([first]) == 7
    assert token_work([first, second, third]) == 11


# the bare loop


def test_bare_loop_computes_what_the_model_does() -> None:
    policy = make_policy(QUICK_SETTINGS)
    ids = torch.randint(100, (3, 12), generator=torch.Generator().manual_seed(0))
    with policy.acting() as model, torch.inference_mode():
        expected = model(input_ids=ids).logits
        before = model.config._attn_implementation
        model.set_attn_implementation(bare.ATTENTION)
        layers = model.config.num_hidden_layers
        cache = Cache(layers=[bare._Buffer(5) for _ in range(layers)])
        parts = [model(input_ids=ids[:1, :5], past_key_values=cache).logits.expand(3, -1, -1)]
        same = ids.clone()
        same[:, :5] = ids[0, :5]
        cache = Cache(layers=[layer.repeated(3, 12) for layer in cache.layers])
        for begin, end in ((5, 9), (9, 10), (10, 12)):
            parts.append(model(input_ids=same[:, begin:end], past_key_values=cache).logits)
        model.set_attn_implementation(before)
        expected = model(input_ids=same).logits
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=1e-5)


def test_bare_loop_does_the_work_of_the_episodes() -> None:
    policy = make_policy(QUICK_SETTINGS)
    episodes = record(policy, QUICK_SETTINGS)
    plan = bare.lengths(episodes)
    before = policy.base.config._attn_implementation
    computed = bare.run(policy, plan, QUICK_SETTINGS.tasks, QUICK_SETTINGS.group)
    assert policy.base.config._attn_implementation == before
    assert computed == plan.total(QUICK_SETTINGS.tasks, QUICK_SETTINGS.group)
    # Rounded lengths; in the episodes equal tokens by chance are computed once.
    assert computed == pytest.approx(token_work(episodes), rel=0.05)


# measuring


def test_time_and_memory_are_the_contender_s() -> None:
    large, small = Timings(), Timings()

    def allocate() -> None:
        torch.ones(50_000_000).sum()  # 200 MB

    timed(allocate, large, "cpu")
    timed(lambda: time.sleep(0.3), small, "cpu")
    assert small.wall[0] >= 0.3
    assert small.cpu[0] < small.wall[0]
    assert small.seconds("cpu") == small.cpu
    assert small.seconds("cuda") == small.wall
    highest, lowest = large.highest(), small.highest()
    if highest is None or lowest is None:
        pytest.skip("this system does not tell the peak")
    assert highest - lowest > 0.15


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    timings, results = alternate(contenders, 2, "cpu")
    assert "".join(calls) == "abba"
    assert results == {"a": 4, "b": 3}
    assert all(len(item.cpu) == 2 for item in timings.values())
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2.0
