"""An objective that a strategy wraps: nothing of it is lost, and its errors keep its name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from learning import VARIED, Make, config, flat, groups, rewarded, taken

import contrail
from contrail.errors import PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.runs.launch import run_stream
from contrail.seeding import generator
from contrail.training.objective import Objective
from contrail.training.wrapper import ObjectiveWrapper

import torch  # isort: skip
from contrail.training.learner import Learner  # isort: skip

METHODS = ["start", "samples", "weights", "backward", "needed", "reference", "loss"]


class Mine(contrail.GRPO):
    """An objective of a plugin, with a state and something to log."""

    learning_rate = 3e-4

    def start(self, learner: Any) -> None:
        self.seen = 0

    def weights(self, learner: Any, grouped: Any, minibatches: Any) -> Any:
        self.seen += 1
        self.log("seen", self.seen)
        return super().weights(learner, grouped, minibatches)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def test_every_method_is_handed_on() -> None:
    own = {name for name, item in vars(Objective).items() if inspect.isfunction(item)}
    handed = {name for name, item in vars(ObjectiveWrapper).items() if inspect.isfunction(item)}
    assert own - handed == set()
    assert {name for name in vars(ObjectiveWrapper(Mine())) if not name.startswith("_")} >= {
        "has_advantages",
        "learning_rate",
        "named",
        "needs_expert",
    }


def test_an_update_is_the_same_as_without(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    before = {name: value.clone() for name, value in policy.snapshot().items()}
    found = []
    for objective in (Mine(), ObjectiveWrapper(Mine())):
        policy.load(before)
        learner = Learner(policy, config(tmp_path, beta=0.04))
        learner.begin(1, objective)
        grouped = groups(policy, Choose())
        rewarded(grouped, VARIED)
        logged = learner.update(grouped, generator(0))
        found.append((logged, policy.snapshot(), learner.state_dict()["objective"]))
        assert learner.config.learning_rate == 3e-4
    (one, moved, state), (other, same, handed) = found
    assert one == other
    assert state == handed == {"seen": 1}
    assert all(torch.equal(moved[name], same[name]) for name in moved)
    assert any(not torch.equal(moved[name], before[name]) for name in moved)


def fails(*arguments: Any) -> Any:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize("method", METHODS)
def test_one_that_raises_is_named(make_tiny: Make, tmp_path: Path, method: str) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    mine = type("Mine", (Mine,), {method: fails})()

    def updated() -> None:
        learner.begin(1, ObjectiveWrapper(mine))
        learner.update(grouped, generator(0))

    with pytest.raises(PluginError, match=f"^objective Mine: {method}: ZeroDivisionError: by zero"):
        updated()


def test_what_it_returns_is_checked(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    mine = type("Mine", (Mine,), {"weights": lambda *arguments: [torch.ones(3)]})()
    learner.begin(1, ObjectiveWrapper(mine))
    with pytest.raises(PluginError, match=r"^objective Mine: weights: a tensor of shape \(3,\)"):
        learner.update(grouped, generator(0))
    assert not any(bool(gradient.any()) for gradient in taken(policy).values())
    assert flat(grouped)


PLUGIN = """
import contrail

class Broken(contrail.GRPO):
    def weights(self, learner, groups, minibatches):
        return {weights}

@contrail.hookimpl
def contrail_objectives(register):
    register("broken", Broken)
"""

STREAM = """
model: tiny-random
plugins: [mine.py]
strategy: distill
stream:
  - environment: {name: babyai, label: old, max_turns: 2}
    updates: 0
  - environment: {name: babyai, label: new, max_turns: 2, levels: [PickupLoc]}
    updates: 1
    learn: broken
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 2, generation_batch_size: 8}
"""


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("undefined", r"weights: NameError: .*; .*mine\.py line 6"),
        ("[None for part in minibatches]", "weights: None, where it must return a tensor"),
    ],
)
@pytest.mark.parametrize("updates", [0, 1])  # without an old environment, and with one
def test_a_run_with_distill_names_it(
    tmp_path: Path, weights: str, message: str, updates: int
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(weights=weights))
    stream = STREAM.replace("updates: 0", f"updates: {updates}")
    (tmp_path / "stream.yaml").write_text(stream)
    with pytest.raises(PluginError, match=rf"^objective Broken: {message}"):
        run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)
