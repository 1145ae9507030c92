"""Strategies where the lower layers are frozen, and the update takes over what these computed.

What the rollout kept belongs to its own episodes. Stored episodes, a reference and merged weights
must not use it in place of what they would compute.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from rooms import Rooms, train
from stages import make_context

from contrail.model.frozen_layers import FrozenLayers
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.seeding import generator
from contrail.stage import Stage
from contrail.strategies.kl import KL, KLConfig
from contrail.strategies.merge import Merge, MergeConfig
from contrail.strategies.replay import Replay, ReplayConfig

import torch  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from learning import config, flat, groups  # isort: skip

Make = Callable[..., Policy]
ABOVE = {"layers_to_transform": [1]}  # of two layers


def stage(name: str) -> Stage:
    return Stage(name, {name: Rooms().tasks("train")}, {name: Choose()}, 2)


def replaying(episodes: Sequence[Episode]) -> Replay:
    """A replay in its second stage, with successes of the first."""
    strategy = Replay(ReplayConfig(mode="episodes", fraction=1.0))
    stages = [stage("old"), stage("rooms")]
    strategy.begin(SimpleNamespace(), stages)  # type: ignore[arg-type]
    stored = copy.deepcopy(list(episodes))
    for episode in stored:
        episode.environment, episode.success = "old", True
    strategy.observe(stages[0], stored, generator(0))
    strategy.enter(make_context(2, stages[1]), resumed=False)
    return strategy


def learnt(make: Make, tmp_path: Path, strategies: str, keep: bool) -> tuple[Any, ...]:
    """The adapter and what is logged after an update in the second stage."""
    policy = make(**ABOVE)
    trainer = Learner(policy, config(tmp_path, optim="sgd", learning_rate=0.1))
    context = make_context(2, learner=trainer)
    merge = Merge(MergeConfig(start="merged"))
    merge.begin(trainer, [])
    replay = replaying(flat(groups(policy, Choose(), count=4)))  # by the policy as it was then
    for scale in (0.2, 0.3):
        train(policy, scale)
        if "merge" in strategies:
            merge.leave(context)
    if "kl" in strategies:
        KL(KLConfig(beta=0.5)).enter(context, resumed=False)
        train(policy, 0.4)
    if "replay" in strategies:
        trainer.penalty = functools.partial(replay.penalty, trainer)
    with policy.keeping() if keep else nullcontext():
        played = groups(policy, Choose())
        scalars = trainer.update(played, generator(0))
    return policy, scalars, trainer.extra_tokens


@pytest.mark.parametrize("strategies", ["replay", "kl", "merge", "replay, kl, merge"])
def test_an_update_is_the_same_with_what_the_rollout_kept(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategies: str
) -> None:
    skipped: list[int] = []
    replaced = FrozenLayers.replaced

    def counted(self: FrozenLayers, states: torch.Tensor) -> Any:
        skipped.append(len(states))
        return replaced(self, states)

    monkeypatch.setattr(FrozenLayers, "replaced", counted)
    policy, expected, extra = learnt(make_tiny, tmp_path, strategies, False)
    skipped.clear()
    other, scalars, extra_with = learnt(make_tiny, tmp_path, strategies, True)
    assert skipped
    assert extra_with == extra
    assert (extra > 0) == ("replay" in strategies or "kl" in strategies)
    assert scalars == pytest.approx(expected, rel=1e-3, abs=1e-5)
    if "kl" in strategies:
        assert scalars["kl"] > 1e-3
    moved = policy.snapshot()
    assert moved
    for name, value in other.snapshot().items():
        torch.testing.assert_close(value, moved[name], rtol=1e-3, atol=1e-5)


def test_what_frozen_layers_keep_does_not_depend_on_what_is_merged(make_tiny: Make) -> None:
    """The reference's forward and the policy's begin with the same states."""
    policy = make_tiny(**ABOVE)
    assert policy.frozen is not None
    anchor = policy.snapshot()
    train(policy, 0.5)
    tokens = torch.tensor([numpy.arange(3, 20).tolist()])
    given = []
    with torch.no_grad():
        for snapshot in (None, anchor, policy.snapshot()):
            with policy.reference(snapshot) as model, policy.frozen.recorded() as record:
                model(input_ids=tokens, use_cache=False)
            given.append(record[0])
    assert torch.equal(given[0], given[1])
    assert torch.equal(given[0], given[2])
