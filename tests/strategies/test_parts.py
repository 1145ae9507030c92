"""What strategies are made of, against what it should be by other means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from rooms import train
from stages import make_context, make_stage

from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.strategies.ewc import EWC, EWCConfig, diagonal_fisher
from contrail.strategies.kl import KL, KLConfig
from contrail.strategies.l2 import L2, L2Config
from contrail.strategies.merge import MergeConfig, merged
from contrail.strategies.orthogonal import Orthogonal

import torch  # isort: skip
from contrail.runs.state import join, load_tensors, save_tensors, separate_tensors  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from learning import config, flat, groups  # isort: skip

Make = Callable[..., Policy]


@pytest.fixture
def trainer(make_tiny: Make, tmp_path: Path) -> Learner:
    return Learner(make_tiny(), config(tmp_path))


# The policy.


def test_a_snapshot_is_held_and_put_back(make_tiny: Make) -> None:
    policy = make_tiny()
    own = policy.snapshot()
    other = {name: torch.ones_like(value) for name, value in own.items()}
    identities = {name: id(item) for name, item in policy.parameters.items()}
    with policy.using(other):
        assert all((item == 1).all() for item in policy.parameters.values())
    assert all(torch.equal(item, own[name]) for name, item in policy.parameters.items())
    policy.load(other)
    assert all((item == 1).all() for item in policy.parameters.values())
    assert identities == {name: id(item) for name, item in policy.parameters.items()}


# Regularisation.


@pytest.mark.parametrize("mode", ["online", "separate"])
def test_ewc_is_the_sum_of_its_quadratics(trainer: Learner, mode: Any) -> None:
    strategy = EWC(EWCConfig(strength=3.0, mode=mode, decay=0.5, episodes=4, normalize=False))
    rng = numpy.random.default_rng(0)
    kept = []
    for number in (1, 2):
        strategy.enter(make_context(number, learner=trainer), resumed=False)
        episodes = flat(groups(trainer.policy, Choose()))
        strategy.observe(make_stage("rooms", []), episodes, rng)
        strategy.leave(make_context(number, learner=trainer))
        fisher = diagonal_fisher(trainer, episodes[-4:], 1024, rng)
        kept.append((fisher, trainer.policy.snapshot()))
        train(trainer.policy, 0.1 + number / 10)
    (first, anchor), (second, latest) = kept
    expected = 0.0
    for name, item in trainer.policy.parameters.items():
        old, new = first[name], second[name]
        if mode == "online":
            expected += 1.5 * ((0.5 * old + new) * (item - latest[name]) ** 2).sum().item()
        else:
            expected += 1.5 * (old * (item - anchor[name]) ** 2).sum().item()
            expected += 1.5 * (new * (item - latest[name]) ** 2).sum().item()
    again = EWC(strategy.config)
    again.load_state_dict(strategy.state_dict())
    for made in (strategy, again):
        total = sum(float(term.detach()) for term in made.penalty(trainer, [], rng))
        assert total == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_l2_is_half_the_squared_distance(trainer: Learner) -> None:
    strategy = L2(L2Config(strength=3.0))
    rng = numpy.random.default_rng(0)
    strategy.enter(make_context(1, learner=trainer), resumed=False)
    assert not list(strategy.penalty(trainer, [], rng))
    strategy.enter(make_context(2, learner=trainer), resumed=False)
    with torch.no_grad():
        for parameter in trainer.policy.parameters.values():
            parameter += 0.5
    count = sum(parameter.numel() for parameter in trainer.policy.parameters.values())
    total = sum(float(term.detach()) for term in strategy.penalty(trainer, [], rng))
    assert total == pytest.approx(1.5 * count * 0.25, rel=1e-4)


def test_kl_is_taken_against_the_previous_stage(make_tiny: Make, tmp_path: Path) -> None:
    def kl(move: bool, number: int = 2) -> float | None:
        policy = make_tiny()
        made = Learner(policy, config(tmp_path, learning_rate=1e-9))
        KL(KLConfig(beta=0.5)).enter(make_context(number, learner=made), resumed=False)
        if move:
            train(policy, 0.3)
        played = groups(policy, Choose())
        return made.update(played, numpy.random.default_rng(0)).get("kl")

    at_anchor, away = kl(move=False), kl(move=True)
    assert at_anchor == pytest.approx(0, abs=1e-5)
    assert away is not None
    assert away > 1e-3
    assert not kl(move=True, number=1)  # the first stage has no anchor


def test_a_penalty_moves_what_is_learnt(trainer: Learner) -> None:
    played = groups(trainer.policy, Choose())
    seen = []

    def penalty(episodes: Any, rng: Any) -> Any:
        seen.append(len(episodes))
        for parameter in trainer.policy.parameters.values():
            yield 1e6 * parameter.sum()

    trainer.penalty = penalty
    before = trainer.policy.snapshot()
    trainer.update(played, numpy.random.default_rng(0))
    assert seen == [8]
    steps = torch.cat(
        [(item - before[n]).flatten() for n, item in trainer.policy.parameters.items()]
    )
    assert (steps < 0).all()  # down the penalty's slope, everywhere


# Architecture.


def test_a_merge_is_the_weighted_sum(make_tiny: Make) -> None:
    policy = make_tiny()
    one = policy.snapshot()
    train(policy, 0.3)
    two = policy.snapshot()
    for snapshot in (one, two):  # of rank 2 each, so that their sum has the rank of the adapter
        for name, value in snapshot.items():
            if "lora_B" in name:
                value[:, 2:] = 0
    before, random_state = policy.snapshot(), torch.get_rng_state()
    made = merged(policy, [one, two], [0.25, 0.5], MergeConfig(combination_type="svd"), seed=0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in policy.parameters.items())
    assert list(policy.model.peft_config) == ["default"]
    for name in [name for name in made if "lora_B" in name]:
        other = name.replace("lora_B", "lora_A")

        def delta(adapter: dict[str, torch.Tensor], b: str = name, a: str = other) -> torch.Tensor:
            return adapter[b] @ adapter[a]

        expected = 0.25 * delta(one) + 0.5 * delta(two)
        torch.testing.assert_close(delta(made), expected, rtol=1e-3, atol=1e-4)
    policy.load(made)  # it fits, and the policy acts on
    assert flat(groups(policy, Choose()))


def test_dare_drops_by_its_seed_alone(make_tiny: Make) -> None:
    policy = make_tiny()
    setting = MergeConfig(combination_type="dare_linear")
    one = policy.snapshot()
    first, again, other = (merged(policy, [one, one], [1, 1], setting, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_orthogonal_stages_leave_each_others_ranks_alone(trainer: Learner) -> None:
    strategy = Orthogonal()
    strategy.begin(trainer, [make_stage("a", []), make_stage("b", [])])
    rng = numpy.random.default_rng(0)
    trainer.penalty = lambda episodes, rng: strategy.penalty(trainer, episodes, rng)
    for number, own in ((1, slice(0, 2)), (2, slice(2, 4))):
        before = trainer.policy.snapshot()
        strategy.enter(make_context(number, learner=trainer), resumed=False)
        trainer.begin(1)
        trainer.update(groups(trainer.policy, Choose()), rng)
        strategy.leave(make_context(number, learner=trainer))
        for name, parameter in trainer.policy.parameters.items():
            step = (parameter - before[name]).detach()
            step = step if "lora_A" in name else step.T
            assert step[own].abs().sum() > 0
            step[own] = 0
            assert not step.any(), name


def test_the_overlap_is_that_of_o_lora(trainer: Learner) -> None:
    strategy = Orthogonal()
    strategy.begin(trainer, [make_stage("a", []), make_stage("b", [])])
    strategy.enter(make_context(2, learner=trainer), resumed=False)
    total = sum(
        float(term.detach()) for term in strategy.penalty(trainer, [], numpy.random.default_rng(0))
    )
    strategy.leave(make_context(2, learner=trainer))
    expected = sum(
        float((item[:2] @ item[2:].T).abs().sum().detach())
        for name, item in trainer.policy.parameters.items()
        if "lora_A" in name
    )
    assert total == pytest.approx(0.5 * expected, rel=1e-4)


# State.


def test_a_state_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {"a": [1, 2.5, None, True, {"b": shared}], "c": shared[:3], "d": {}}
    plain, tensors = separate_tensors(state)
    save_tensors(tensors, tmp_path)
    found = join(json.loads(json.dumps(plain)), load_tensors(tmp_path))
    assert torch.equal(found["a"][4].pop("b"), shared)
    assert torch.equal(found.pop("c"), shared[:3])
    assert found == {"a": [1, 2.5, None, True, {}], "d": {}}
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]
