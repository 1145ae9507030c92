"""An objective that raises, or returns what cannot be learnt from, is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from contrail.episode import Episode
from contrail.errors import ConfigError, PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.runs.launch import run_stream
from contrail.seeding import generator

import torch  # isort: skip
from contrail.training.grpo import GRPO  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch, Objective  # isort: skip
from learning import (  # isort: skip
    EXACT,
    VARIED,
    Make,
    config,
    distance,
    flat,
    groups,
    rewarded,
    taken,
)


class Mine(GRPO):
    """An objective of a plugin."""


def fails(*arguments: Any) -> Any:
    raise ZeroDivisionError("by zero")


def updated(make_tiny: Make, tmp_path: Path, method: str, does: Callable[..., Any]) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    learner.begin(1, type("Mine", (Mine,), {method: does})())
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    learner.update(grouped, generator(0))


@pytest.mark.parametrize("method", ["start", "samples", "weights", "needed", "reference", "loss"])
def test_one_that_raises(make_tiny: Make, tmp_path: Path, method: str) -> None:
    with pytest.raises(PluginError, match=f"^objective Mine: {method}: ZeroDivisionError: by zero"):
        updated(make_tiny, tmp_path, method, fails)


def test_an_error_for_humans_stays_as_it_is(make_tiny: Make, tmp_path: Path) -> None:
    def refuses(*arguments: Any) -> Any:
        raise ConfigError("choose another")

    with pytest.raises(ConfigError, match="choose another"):
        updated(make_tiny, tmp_path, "weights", refuses)


@pytest.mark.parametrize(
    ("method", "returns", "message"),
    [
        ("weights", [torch.tensor(1.0)], r"weights: a tensor of shape \(\), where .* \(8,\)"),
        ("weights", [torch.ones(7)], r"weights: a tensor of shape \(7,\), where"),
        ("weights", [torch.ones(8, 1)], r"weights: a tensor of shape \(8, 1\), where"),
        ("weights", [[1.0] * 8], r"weights: \[1.0, 1.0, .* where"),
        ("weights", None, "weights: None, where it must return a list"),
        ("weights", [], "weights: 0 tensors for 1 minibatches"),
        ("weights", [torch.full((8,), torch.nan)], "weights: not all are finite"),
        ("loss", 1.0, r"loss: 1.0, where it must return a tensor of shape \(\)"),
        ("loss", torch.tensor(1.0), "loss: a tensor of shape .* without a gradient"),
        ("loss", torch.ones(2, requires_grad=True), r"loss: a tensor of shape \(2,\)"),
        ("loss", torch.tensor(torch.nan, requires_grad=True), "loss: it is nan, which is not"),
        ("samples", 0, "samples: 0, where it must return a divisor of grpo.gen.* 8"),
        ("samples", 3, "samples: 3, where it must return a divisor of grpo.gen.* 8"),
        ("samples", None, "samples: None, where it must return a divisor of grpo.gen.* 8"),
    ],
)
def test_what_cannot_be_learnt_from(
    make_tiny: Make, tmp_path: Path, method: str, returns: Any, message: str
) -> None:
    with pytest.raises(PluginError, match=f"^objective Mine: {message}"):
        updated(make_tiny, tmp_path, method, lambda *arguments: returns)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (None, "None, where it must return a list of groups"),
        (["a"], r"\['a'\], where it must return a list of groups"),
        ([["a"]], "not all that it returned are of contrail.Episode"),
        ([], "it returned 0 played episodes"),
        ([[Episode("a", None, 0)] * 9], "it returned 9 played episodes; .* is 8"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_update(make_tiny: Make, tmp_path: Path, returns: Any, message: str) -> None:
    learner = Learner(make_tiny(), config(tmp_path))
    learner.begin(1, type("Mine", (Mine,), {"episodes": lambda *_: returns})())
    with pytest.raises(PluginError, match=f"^objective Mine: episodes: {message}"):
        learner.episodes([], fails)


@pytest.mark.parametrize("rate", ["high", -1.0, math.inf, True])
def test_what_is_no_learning_rate(make_tiny: Make, tmp_path: Path, rate: Any) -> None:
    learner = Learner(make_tiny(), config(tmp_path))
    with pytest.raises(PluginError, match=r"^objective Mine: learning_rate: .* at least 0, or"):
        learner.begin(1, type("Mine", (Mine,), {"learning_rate": rate})())


class Reinforce(Objective):
    """Has advantages, and leaves out what strategies do with them."""

    has_advantages = True

    def weights(self, learner: Any, grouped: Any, minibatches: Any) -> Any:
        rewards = torch.tensor([item.reward for group in grouped for item in group])
        return [(rewards - rewards.mean())[list(part)] for part in minibatches]

    def loss(self, learner: Any, decisions: Any, recorded: Any, batch: Any, final: Any) -> Any:
        return -(decisions.logprobs.sum(1) * batch.weights).sum()


class WithBonus(Reinforce):
    def weights(self, learner: Any, grouped: Any, minibatches: Any) -> Any:
        added = torch.tensor(learner.bonus(grouped))
        plain = super().weights(learner, grouped, minibatches)
        return [own + added[list(part)] for own, part in zip(plain, minibatches, strict=True)]


class WithKL(WithBonus):
    def reference(self, learner: Any, batch: Any) -> Any:
        return learner.reference(batch.episodes)


def test_a_strategy_that_would_do_nothing_is_refused(make_tiny: Make, tmp_path: Path) -> None:
    """With advantages of its own an objective must add the bonus and the KL term of strategies."""
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)

    def learn(objective: Objective, bonus: float | None, beta: float) -> None:
        learner = Learner(policy, config(tmp_path))
        if bonus is not None:
            learner.strategy_bonus = lambda found: [bonus] * len(flat(found))
        learner.anchor(policy.snapshot(), beta)
        learner.begin(1, objective)
        learner.update(grouped, generator(0))

    with pytest.raises(PluginError, match=r"^objective Reinforce: weights: .*learner\.bonus"):
        learn(Reinforce(), 1.0, 0.0)
    with pytest.raises(PluginError, match=r"^objective WithBonus: reference: .*learner\.reference"):
        learn(WithBonus(), 1.0, 0.1)
    learn(Reinforce(), None, 0.0)
    learn(WithBonus(), 1.0, 0.0)
    learn(WithKL(), 1.0, 0.1)
    without = type("Without", (Reinforce,), {"has_advantages": False})
    learn(without(), 1.0, 0.1)  # strategies that count on advantages refuse it themselves


def test_a_weight_per_decision_is_taken(make_tiny: Make, tmp_path: Path) -> None:
    def ones(self: Any, learner: Any, grouped: Any, minibatches: Any) -> Any:
        longest = max(len(item.logprobs) for group in grouped for item in group)
        return [torch.ones(8, longest)]

    updated(make_tiny, tmp_path, "weights", ones)


class Unmasked(GRPO):
    """Its loss reads what is left out, and what is beyond an episode's end."""

    def loss(self, learner: Any, decisions: Any, recorded: Any, batch: Any, final: Any) -> Any:
        return -(decisions.logprobs.sum(1) * batch.weights).sum()


class Masked(GRPO):
    def loss(self, learner: Any, decisions: Any, recorded: Any, batch: Any, final: Any) -> Any:
        return -((decisions.logprobs * decisions.mask).sum(1) * batch.weights).sum()


def test_no_gradient_flows_through_what_is_left_out(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    episodes = flat(groups(policy, Choose()))
    whole = Batch.of(episodes, torch.ones(len(episodes)))
    learner.gradients(whole, Masked())
    every = taken(policy)
    for episode in episodes:
        episode.turns[0].left_out = True
    learner.gradients(whole, Masked())
    expected = taken(policy)
    learner.gradients(whole, Unmasked())
    assert distance(taken(policy), expected) < EXACT
    assert distance(every, expected) > 0.1


PLUGIN = """
import contrail

class Broken(contrail.Objective):
    def weights(self, learner, groups, minibatches):
        return undefined
    def loss(self, learner, decisions, recorded, batch, final):
        raise AssertionError

@contrail.hookimpl
def contrail_objectives(register):
    register("broken", Broken)
"""

STREAM = """
model: tiny-random
plugins: [mine.py]
stream: [{environment: {name: babyai, max_turns: 2}, updates: 1, learn: broken}]
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 4, generation_batch_size: 8}
"""


SAVES = """
    def samples(self, learner):
        return 4
    def state_dict(self):
        return {"a": {1, 2}}
    def load_state_dict(self, state):
        pass
"""
WEIGHS = "[__import__('torch').zeros(len(part)) for part in minibatches]"


def test_a_run_names_the_objective_whose_state_cannot_be_kept(tmp_path: Path) -> None:
    text = PLUGIN.replace("undefined", WEIGHS).replace("\n@contrail", f"{SAVES}\n@contrail")
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "stream.yaml").write_text(
        STREAM.replace("updates: 1", "updates: 2") + "checkpoint: {updates: 1}\n"
    )
    message = r"^objective Broken: state_dict: state/learner/objective/a: set is neither"
    with pytest.raises(PluginError, match=message):
        run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)


def test_a_run_says_what_an_objective_without_weights_lacks(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("undefined", WEIGHS))
    (tmp_path / "stream.yaml").write_text(STREAM)
    run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)
    [stage] = json.loads((tmp_path / "run/result.json").read_text())["no_signal"]
    assert stage["kinds"] == {"unweighted": 1}
    assert "what its `weights` and `loss` return" in stage["advice"]


def test_a_run_names_it_with_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "stream.yaml").write_text(STREAM)
    message = r"^objective Broken: weights: NameError: .*'undefined'.*; .*mine\.py line 6"
    with pytest.raises(PluginError, match=message):
        run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)


def test_what_may_ask_for_neither(make_tiny: Make, tmp_path: Path) -> None:
    """A wrapper that learns from its own episodes, and an update without advantages."""
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)

    class Early(Reinforce):
        def weights(self, learner: Any, grouped: Any, minibatches: Any) -> Any:
            return (torch.zeros(len(part)) for part in minibatches)

    class Around(Reinforce):
        wrapped = GRPO()

    for objective in (Early(), Around()):
        learner = Learner(policy, config(tmp_path))
        learner.strategy_bonus = lambda found: [1.0] * len(flat(found))
        learner.anchor(policy.snapshot(), 0.1)
        learner.begin(1, objective)
        learner.update(grouped, generator(0))


def test_samples_may_be_of_numpy(make_tiny: Make, tmp_path: Path) -> None:
    updated(make_tiny, tmp_path, "samples", lambda *_: numpy.int64(4))
