"""The retention reward: who gets it, how much, and what the learner makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rooms import train

from contrail.environment import Task
from contrail.errors import PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.registry.registered import Registered
from contrail.runs.composition import Composition, _Member
from contrail.seeding import generator
from contrail.strategies.retain import Retain, RetainConfig, drift_of
from contrail.strategy import Strategy

import torch  # isort: skip
from contrail.episode import Episode, Turn  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from stages import make_context  # isort: skip
from learning import Make, changed, config, flat, groups, parameters, rewarded  # isort: skip


def episode(*logprobs: float) -> Episode:
    turn = Turn([1], [2] * len(logprobs), list(logprobs), [1.0] * len(logprobs))
    return Episode("e", Task("e", "0", 0, "train"), 0, [turn])


class Old:
    """A learner whose reference gives all decisions one log-probability."""

    def __init__(self, logprob: float) -> None:
        self.logprob = logprob

    def reference(self, episodes: Sequence[Episode], adapter: Any) -> torch.Tensor:
        assert adapter == {"lora": "old"}
        longest = max(len(item.logprobs) for item in episodes)
        return torch.full((len(episodes), longest), self.logprob)


def retain(**settings: Any) -> Retain:
    strategy = Retain(RetainConfig(**settings))
    policy = SimpleNamespace(snapshot=lambda: {"lora": "old"})
    strategy.enter(make_context(2, policy=policy), resumed=False)
    return strategy


def test_the_drift_by_hand() -> None:
    # d = 1 and -2: (e - 2 + e^-2 + 1) / 2. The row is padded.
    expected = (math.e - 2 + math.exp(-2) + 1) / 2
    assert drift_of([-2.0, -1.0], [-1.0, -3.0, 0.0, 0.0]) == pytest.approx(expected)
    assert drift_of([-1.0], [-1.0]) == 0


def test_the_drift_estimates_the_divergence() -> None:
    """Its mean over the acting policy's own decisions is KL(acting || old)."""
    acting, old = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    mean = sum(
        float(p) * drift_of([math.log(p)], [math.log(q)])
        for p, q in zip(acting.tolist(), old.tolist(), strict=True)
    )
    assert mean == pytest.approx(float((acting * (acting / old).log()).sum()), rel=1e-5)


def test_the_reward_is_compared_within_the_group() -> None:
    grouped = [[episode(-1.0), episode(-2.0)], [episode(-1.0, -1.0), episode(-1.0)]]
    found = retain(weight=2.0, scale=0.5).bonus(Old(-1.0), grouped)  # type: ignore[arg-type]
    lower = round(math.exp(-(math.e - 2) / 0.5), 2)
    half = (1 - lower) / 2
    assert found == pytest.approx([2 * half, -2 * half, 0, 0])
    assert found[2:] == [0.0, 0.0]


def test_the_first_stage_and_a_weight_of_nought_add_nothing() -> None:
    grouped = [[episode(-1.0), episode(-2.0)]]
    first = Retain()
    first.enter(make_context(1), resumed=False)
    for strategy in (first, retain(weight=0.0)):
        assert strategy.bonus(None, grouped) == ()  # type: ignore[arg-type]
    left = retain()
    left.leave(make_context(2))
    assert left.bonus(None, grouped) == ()  # type: ignore[arg-type]


def test_what_was_kept_is_taken_up_inside_the_stage() -> None:
    strategy = Retain()
    strategy.load_state_dict(retain().state_dict())
    strategy.enter(make_context(2, policy=None), resumed=True)
    found = strategy.bonus(Old(-1.0), [[episode(-1.0), episode(-3.0)]])  # type: ignore[arg-type]
    assert found[0] > 0


def test_a_policy_that_has_not_moved_has_no_bonus(make_tiny: Make, tmp_path: Path) -> None:
    """The recorded log-probabilities and the scored ones differ in their last digits."""
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    strategy = Retain()
    strategy.enter(make_context(2, learner=learner), resumed=False)
    learner.strategy_bonus = lambda grouped: strategy.bonus(learner, grouped)
    grouped = groups(policy, Choose())
    assert list(strategy.bonus(learner, grouped)) == [0.0] * 8
    assert learner.extra_tokens > 0
    rewarded(grouped, [[1.0] * 4, [0.0] * 4])
    before = parameters(policy)
    assert learner.update(grouped, generator(0))["skipped_steps"] == 1
    assert not changed(policy, before)


def test_of_equal_episodes_those_near_the_old_policy_win(make_tiny: Make, tmp_path: Path) -> None:
    """Where all rewards are equal, steps lead back towards the policy before the stage."""
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path, learning_rate=1e-3, scale_rewards="none"))
    strategy = Retain(RetainConfig(weight=1.0))
    strategy.enter(make_context(2, learner=learner), resumed=False)
    old = policy.snapshot()
    train(policy, 0.3)
    learner.strategy_bonus = lambda grouped: strategy.bonus(learner, grouped)
    grouped = groups(policy, Choose(), size=8)
    rewarded(grouped, [[1.0] * 8] * 2)
    bonus = strategy.bonus(learner, grouped)
    assert min(bonus) < 0 < max(bonus)
    assert sum(bonus) == pytest.approx(0, abs=1e-9)

    def near() -> float:
        """How much more probable what is preferred has become, against the rest."""
        with torch.no_grad():
            rows = learner.reference(flat(grouped), policy.snapshot())
        return float((rows.sum(1) * torch.tensor(list(bonus))).sum())

    before = near()
    learner.update(grouped, generator(0))
    assert near() > before
    assert any(not torch.equal(old[name], value) for name, value in policy.snapshot().items())


class Adds(Strategy):
    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = values

    def bonus(self, learner: Any, groups: Any) -> Any:
        return self.values


def composed(*values: Any) -> Composition:
    return Composition([_Member(str(v), Registered(Adds, "p"), Adds(v)) for v in values])


def test_what_strategies_add_adds_up() -> None:
    grouped = [[episode(-1.0), episode(-1.0)], [episode(-1.0)]]
    found = composed([1.0, 2.0, 3.0], (), [0.5, 0.0, -3.0]).bonus(None, grouped)  # type: ignore[arg-type]
    assert found == [1.5, 2.0, 0.0]
    assert composed((), ()).bonus(None, grouped) == [0.0] * 3  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="it returned 2 numbers for 3 episodes"):
        composed([1.0, 2.0]).bonus(None, grouped)  # type: ignore[arg-type]


def test_a_bonus_is_part_of_the_advantage(make_tiny: Make, tmp_path: Path) -> None:
    learner = Learner(make_tiny(), config(tmp_path, scale_rewards="none"))
    grouped = [[episode(-1.0), episode(-1.0)]]
    rewarded(grouped, [[1.0, 0.0]])
    learner.strategy_bonus = lambda grouped: [0.25, -0.25]
    [weights] = learner.objective.weights(learner, grouped, [[0, 1]])
    assert weights.tolist() == [0.75, -0.75]
