"""Packs: every decision is scored once, as it was recorded, and what is shared is computed once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import contrail
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig

import torch  # isort: skip
from contrail.training import scorer as scorer_module  # isort: skip
from contrail.training.scorer import PlainScorer  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.shared.forest import Forest, TurnSpan  # isort: skip
from contrail.model.tree import TokenTree  # isort: skip
from contrail.training.learner import Learner  # isort: skip

from learning import (
    EXACT,
    Make,
    One,
    Words,
    config,
    flat,
    groups,
    needed_at_least,
)  # isort: skip


def decisions(packs: Sequence[packs_module.Pack]) -> list[tuple[int, int]]:
    """(episode, turn) of all that the packs score."""
    return sorted(
        (row, turn)
        for pack in packs
        for row, part in zip(pack.rows, pack.parts, strict=True)
        for turn in range(part.begin, part.end)
    )


def test_packs_hold_every_decision_once(make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = flat(groups(make_tiny(), Choose(), count=4))
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 4096)
    (whole,) = packs_module.into_packs(episodes, range(len(episodes)))
    assert whole.rows == list(range(16))
    needed = [0, 2, 3, *range(5, 16)]
    expected = [(row, turn) for row in needed for turn in range(len(episodes[row].turns))]
    for limit in (1, 60, 150, 400):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        packs = list(packs_module.into_packs(episodes, needed))
        assert decisions(packs) == expected
        assert len(packs) > 1
        for pack in packs:
            assert pack.forest(TokenTree()).plan.size <= max(limit, needed_at_least(pack))
        assert any(pack.splits for pack in packs) == (limit < 400)


@pytest.mark.parametrize("limit", [1, 60, 150, 4096])
def test_an_episode_is_divided_only_where_that_saves_memory(make_tiny: Make, limit: int) -> None:
    text = flat(groups(make_tiny(), Words(ReactConfig(max_new_tokens=6)), count=4))
    for episode in text:  # its last turn needs all the others
        [pack] = packs_module.into_packs([episode], [0], limit)
        assert not pack.splits
        assert pack.forest(TokenTree()).plan.size == len(episode.token_ids) - 1
    for episode in flat(groups(make_tiny(), Choose(), count=4)):  # no turn needs others' candidates
        packs = packs_module.into_packs([episode], [0], limit)
        parts = [part for pack in packs for part in pack.parts]
        for before, after in itertools.pairwise(parts):
            together = packs_module.Pack([0], [TurnSpan(episode, before.begin, after.begin + 1)])
            size = together.forest(TokenTree()).plan.size
            assert size > max(limit, needed_at_least(together))


@pytest.mark.parametrize("limit", [1, 60, 4096])
def test_plain_forwards_divide_no_free_text(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(scorer_module, "MAX_TOKENS", limit)
    scorer = PlainScorer()
    policy = make_tiny()
    for episode in flat(groups(policy, Words(ReactConfig(max_new_tokens=6)), count=2)):
        slices = scorer.split([episode], [0])
        before = scorer.computed_tokens
        list(scorer.score(policy.model, slices, 1.0))
        assert len(slices) == 1
        assert scorer.computed_tokens - before == len(episode.token_ids) - 1


def test_what_a_group_begins_with_is_computed_once(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, Words(ReactConfig(max_new_tokens=6)), count=2))
    trainer = Learner(policy, config(tmp_path))
    sizes = []
    longest = max(len(episode.token_ids) for episode in episodes)
    for limit in (longest, 1 << 20):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        trainer.extra_tokens = 0
        parts = list(trainer.score(episodes))
        sizes.append((len(parts), trainer.extra_tokens))
    (several, split), (one, whole) = sizes
    assert several > 2
    assert one == 1
    # Packs of a group share a little more than its first prompt: what is written by chance.
    again = (several - 2) * len(episodes[0].turns[0].prompt)
    assert whole <= split < whole + again / 2


def wholes(episodes: Sequence[Episode]) -> list[TurnSpan]:
    return [TurnSpan(episode, 0, len(episode.turns)) for episode in episodes]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize(
    "adapter", [Choose(), Words(ReactConfig(max_new_tokens=6))], ids=["choose", "react"]
)
def test_scores_are_the_recorded_ones(
    make_tiny: Make, adapter: contrail.Adapter, temperature: float
) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, adapter, temperature, count=4))
    forest = Forest(TokenTree())
    forest.add(wholes(episodes[:5]))
    forest.add(wholes(episodes[5:]))
    for model in (policy.base.eval(), None):
        if model is not None:
            scores = forest.score(model, temperature, token_entropies=True)
            assert scores[0].logprobs.requires_grad
        else:
            with torch.no_grad(), policy.acting() as acting:
                scores = forest.score(acting, temperature, token_entropies=True)
        for episode, score in zip(episodes, scores, strict=True):
            recorded = torch.tensor([episode.logprobs, episode.entropies])
            found = torch.stack([score.logprobs, score.entropies])
            assert float((found - recorded).detach().abs().max()) < EXACT


def test_choices_and_free_text_in_one_forest(make_tiny: Make) -> None:
    policy = make_tiny()
    episodes = flat(groups(policy, Choose(), count=1)) + flat(
        groups(policy, Words(ReactConfig(max_new_tokens=6)), count=1)
    )
    forest = Forest(TokenTree())
    forest.add(wholes(episodes))
    with torch.no_grad():
        scores = forest.score(policy.base.eval(), 1.0)
    for episode, score in zip(episodes, scores, strict=True):
        assert float((score.logprobs - torch.tensor(episode.logprobs)).abs().max()) < EXACT


def test_a_group_is_computed_once(make_tiny: Make) -> None:
    episodes = flat(groups(make_tiny(), Choose(), count=1, size=4, environment=One))
    one, four = Forest(TokenTree()), Forest(TokenTree())
    one.add(wholes(episodes[:1]))
    four.add(wholes(episodes))
    assert one.plan.size == four.plan.size
    assert one.plan.size == packs_module._nodes(episodes[0].turns[0])


def test_packs_are_as_large_as_a_gpu_s_memory_allows(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packs_module.tokens_at_once(make_tiny().base) is None  # on a CPU
    half_b = SimpleNamespace(num_hidden_layers=24, hidden_size=896, intermediate_size=4864)
    model: Any = SimpleNamespace(
        device=torch.device("cuda"),
        dtype=torch.bfloat16,
        config=SimpleNamespace(get_text_config=lambda: half_b),
    )
    for memory, least, most in ((80e9, 10_000, 16_000), (1e9, 1280, 1280)):
        found = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, f=found: f)
        assert least <= (packs_module.tokens_at_once(model) or 0) <= most
