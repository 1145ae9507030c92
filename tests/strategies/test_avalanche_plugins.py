"""Plugins of Avalanche as strategies, by `module:Class`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from contrail.errors import ContrailError
from contrail.registry.avalanche import strategy_class
from contrail.runs.launch import run_stream
from contrail.training.learner import Learner

import torch  # isort: skip
from learning import Make, config  # isort: skip

PLUGIN = '''
from avalanche.core import BasePlugin
from avalanche.training.plugins import SupervisedPlugin


class Anchor(BasePlugin):
    """L2 towards the parameters at the beginning of a stage."""

    def __init__(self, strength: float = 1.0):
        super().__init__()
        self.strength = strength
        self.calls = {}

    def count(self, name):
        self.calls[name] = self.calls.get(name, 0) + 1

    def before_training_exp(self, strategy, **kwargs):
        assert strategy.is_training
        self.count(f"stage {strategy.experience.name}")
        self.anchor = {n: p.detach().clone() for n, p in self.parameters(strategy)}

    def parameters(self, strategy):
        return [(n, p) for n, p in strategy.model.named_parameters() if p.requires_grad]

    def before_backward(self, strategy, **kwargs):
        for name, parameter in self.parameters(strategy):
            distance = (parameter - self.anchor[name]).pow(2).sum()
            strategy.loss = strategy.loss + self.strength / 2 * distance

    def after_training_iteration(self, strategy, **kwargs):
        self.count("updates")

    def after_eval_exp(self, strategy, **kwargs):
        assert not strategy.is_training
        self.count("evaluated")


class Forward(BasePlugin):
    def before_forward(self, strategy, **kwargs): ...
'''
STREAM = """
model: tiny-random
plugins: [guess.py]
stream:
  - environment: {name: guess-number, label: a, max_turns: 3}
    updates: 2
  - environment: {name: guess-number, label: b, max_turns: 3}
    updates: 1
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}
"""
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(PLUGIN)
    (tmp_path / "guess.py").write_text((EXAMPLES / "guess.py").read_text())
    path = tmp_path / "stream.yaml"
    path.write_text(STREAM)
    return path


def test_a_plugin_of_avalanche_is_called_and_kept(stream: Path, tmp_path: Path) -> None:
    own = ["strategy={name: 'own.py:Anchor', strength: 0.5}"]
    run = run_stream(stream, own, out=tmp_path / "run", quiet=True).path
    state = json.loads((run / "checkpoints/002/state.json").read_text())
    calls = state["strategy"]["own.py:Anchor"]["calls"]  # a mapping that is changed in place
    assert calls == {"stage a": 1, "stage b": 1, "updates": 3, "evaluated": 6}


def test_what_before_backward_adds_is_a_penalty(
    stream: Path, make_tiny: Make, tmp_path: Path
) -> None:
    made = strategy_class("own.py:Anchor", stream.parent)
    strategy: Any = made(made.Config(strength=3.0))
    learner = Learner(make_tiny(), config(tmp_path))
    model = learner.policy.model
    experience = SimpleNamespace(name="a")
    strategy.template = SimpleNamespace(model=model, experience=experience, is_training=True)
    strategy.plugin.before_training_exp(strategy.template)
    with torch.no_grad():
        for parameter in learner.policy.parameters.values():
            parameter += 0.5
    count = sum(parameter.numel() for parameter in learner.policy.parameters.values())
    (term,) = strategy.penalty(learner, [], numpy.random.default_rng(0))
    assert float(term.detach()) == pytest.approx(1.5 * count * 0.25, rel=1e-4)
    term.backward()


def test_callbacks_that_a_run_never_has_are_refused(stream: Path, tmp_path: Path) -> None:
    with pytest.raises(ContrailError, match=r"before_forward, which a run never calls"):
        run_stream(stream, ["strategy='own.py:Forward'"], out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own.py:Missing", "has no class 'Missing'"),
        ("nowhere.py:Anchor", "does not exist"),
        ("no.such.module:Anchor", "cannot be imported"),
    ],
)
def test_names_that_stand_for_nothing(
    stream: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ContrailError, match=message):
        run_stream(stream, [f"strategy='{name}'"], out=tmp_path / "run", quiet=True)
