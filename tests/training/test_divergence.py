"""Divergences of policies over episodes, against brute force over plain logits."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import pytest
import torch
from playing import Words, jobs, plain, pool
from rooms import train

from contrail.engine.decide import choice_logprobs
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.rollout.play import play
from contrail.training.divergence import divergences, kl_divergence
from contrail.training.scorer import PlainScorer
from contrail.training.shared.scorer import TreeScorer


def distributions(policy: Policy, episode: Episode, temperature: float) -> list[torch.Tensor]:
    """What each decision could have been: a full forward for every turn and candidate."""
    found = []
    history: list[int] = []
    for turn in episode.turns:
        history += turn.prompt
        means = []
        for branch in turn.choices or [turn.written]:
            logits = plain(policy, history + branch)[len(history) - 1 : -1]
            if turn.choices is None:
                found += list((logits / temperature).log_softmax(-1))
            else:
                logprobs = logits.log_softmax(-1)
                means.append(logprobs[torch.arange(len(branch)), branch].mean())
        if means:
            found.append(choice_logprobs(torch.stack(means), temperature))
        history += turn.written
    return found


@pytest.mark.parametrize("adapter", [Choose(), Words()])
@pytest.mark.parametrize("scorer", ["tree", "plain"])
def test_agrees_with_brute_force(adapter: Any, scorer: str) -> None:
    policy = models.make("llama", models.SMALL)
    before = policy.snapshot()
    train(policy, 0.03)
    episodes = play(policy, pool(), jobs(adapter, 2), temperature=0.7)
    own = [distributions(policy, episode, 0.7) for episode in episodes]
    with policy.using(before):
        theirs = [distributions(policy, episode, 0.7) for episode in episodes]
    with policy.model.disable_adapter():
        base = [distributions(policy, episode, 0.7) for episode in episodes]
    scores = TreeScorer(policy) if scorer == "tree" else PlainScorer()
    after = policy.snapshot()
    for episode, mine, other, first in zip(episodes, own, theirs, base, strict=True):
        found = divergences(policy, scores, 0.7, episode, [None, before, after])
        expected = [
            sum(float((a.exp() * (a - b)).sum()) for a, b in zip(mine, reference, strict=True))
            for reference in (first, other)
        ]
        assert min(expected) > 1e-3
        assert found == pytest.approx([*expected, 0.0], rel=1e-2, abs=1e-6)
    assert policy.has(after)
    assert all(parameter.requires_grad for parameter in policy.parameters.values())


@pytest.mark.parametrize("adapter", [Choose(), Words()])
def test_frozen_layers_are_computed_once(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = models.make("llama", models.SMALL, layers_to_transform=[1])
    assert policy.frozen is not None
    before = policy.snapshot()
    train(policy, 0.03)
    episodes = play(policy, pool(), jobs(adapter, 2), temperature=0.7)
    layers = next(item for item in policy.base.modules() if isinstance(item, torch.nn.ModuleList))
    run: list[int] = []
    for number in (0, 1):
        attention = next(iter(layers[number].children()))
        attention.register_forward_pre_hook(lambda *_, number=number: run.append(number))

    def found() -> list[list[float]]:
        run.clear()
        scorer = TreeScorer(policy)
        others = [None, before, policy.snapshot()]
        return [divergences(policy, scorer, 0.7, episode, others) for episode in episodes]

    kept = found()
    assert run.count(1) == 4 * run.count(0) > 0
    monkeypatch.setattr(policy, "frozen", None)
    assert found() == kept  # bit for bit
    assert run.count(1) == run.count(0)
    assert kept[0][2] == 0.0


def test_is_what_sampling_estimates() -> None:
    """The log-ratio of whole episodes that the policy plays has the divergence as its mean."""
    policy = models.make("llama", models.SMALL)
    before = policy.snapshot()
    train(policy, 0.02)
    episodes = play(policy, pool(), jobs(Choose(), 4, each=60))
    scorer = TreeScorer(policy)
    exact = [divergences(policy, scorer, 1.0, episode, [before])[0] for episode in episodes]
    with policy.using(before), policy.plain() as model, torch.no_grad():
        slices = scorer.split(episodes, range(len(episodes)))
        logprobs: dict[int, float] = {}
        for piece, scores in scorer.score(model, slices, 1.0):
            for index, score in zip(piece.rows, scores, strict=True):
                logprobs[index] = logprobs.get(index, 0.0) + float(score.logprobs.sum())
    sampled = [sum(episode.logprobs) - logprobs[i] for i, episode in enumerate(episodes)]
    difference = np.array(sampled) - exact
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    assert np.mean(exact) > 0


def test_a_value_that_cannot_be_has_no_part() -> None:
    first, second = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.25, 0.5, 0.25]).log()
    assert kl_divergence(first, second) == pytest.approx(0.5 * np.log(2))
    assert kl_divergence(first, first) == 0.0
    assert kl_divergence(second, first) == np.inf
