"""Updates from episodes with restarts: they score what was sampled in the context it was sampled
in, and what contexts have in common is computed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playing import Alone, WordsAlone
from rooms import Rooms
from thinking import TEMPLATES, follow_writers, thinking_jobs, thinking_policy

import contrail
from contrail import Observation
from contrail.model.policy import Policy
from contrail.plugins.adapters.react import ReactConfig
from contrail.seeding import generator

import torch  # isort: skip
from contrail.episode import Episode, Turn  # isort: skip
from contrail.model.tree import TokenTree  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip
from contrail.training.scorer import PlainScorer, Scorer, TurnSpan  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from contrail.training.shared.forest import Forest  # isort: skip
from contrail.training.shared.scorer import TreeScorer  # isort: skip
from contrail.training import scorer as scorer_module  # isort: skip

from learning import (
    EXACT,
    Make,
    config,
    distance,
    disturb,
    flat,
    groups,
    needed_at_least,
    some_advantages,
    taken,
)  # isort: skip

LIMITS = (1, 60, 200, 1 << 20)
KINDS = ("choose", "text", "qwen_3", "deepseek_r1")


def played(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch, kind: str, **lora: Any
) -> tuple[Policy, list[Episode]]:
    """A policy, and what it has played at a temperature of 0.8."""
    if kind in TEMPLATES:
        policy = thinking_policy(TEMPLATES[kind], **lora)
        follow_writers(monkeypatch)
        jobs = thinking_jobs(policy, count=2, each=4)
        return policy, play(policy, EnvironmentPool({"rooms": Rooms}), jobs, temperature=0.8)
    policy = make_tiny(**lora)
    adapter = Alone() if kind == "choose" else WordsAlone(ReactConfig(max_new_tokens=6))
    return policy, flat(groups(policy, adapter, temperature=0.8))


def scored(
    scorer: Scorer, policy: Policy, episodes: Sequence[Episode]
) -> dict[tuple[int, int], torch.Tensor]:
    """Log-probabilities of each episode's decisions, in order, by episode."""
    slices = scorer.split(episodes, range(len(episodes)))
    values = {}
    with torch.no_grad(), policy.learning() as model:
        for piece, every in scorer.score(model, slices, 0.8):
            for row, part, scores in zip(piece.rows, piece.parts, every, strict=True):
                values[row, part.begin] = scores.logprobs
    return values


@pytest.mark.parametrize("kind", KINDS)
def test_the_importance_ratio_is_one(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    policy, episodes = played(make_tiny, monkeypatch, kind)
    assert sum(turn.restart for episode in episodes for turn in episode.turns) > 8
    for scorer, module in ((TreeScorer(policy), packs_module), (PlainScorer(), scorer_module)):
        for limit in LIMITS:
            monkeypatch.setattr(module, "MAX_TOKENS", limit)
            found = scored(scorer, policy, episodes)
            assert {row for row, _ in found} == set(range(len(episodes)))
            for row, episode in enumerate(episodes):
                own = torch.cat([found[key] for key in sorted(found) if key[0] == row])
                ratio = (own - torch.tensor(episode.logprobs)).exp()
                assert len(ratio) == len(episode.logprobs)
                assert float((ratio - 1).abs().max()) < EXACT


@pytest.mark.parametrize("off_policy", [False, True], ids=["on", "off"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_plain_forwards(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    off_policy: bool,
) -> None:
    policy, episodes = played(make_tiny, monkeypatch, kind)
    if off_policy:
        disturb(episodes)
    batch = Batch.of(episodes, some_advantages(len(episodes)), off_policy)
    settings = config(tmp_path, temperature=0.8, beta=0.04)
    expected_loss = Learner(policy, settings, PlainScorer()).gradients(batch)
    expected = taken(policy)
    for limit in LIMITS:
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        learner = Learner(policy, settings)
        assert learner.gradients(batch) == pytest.approx(expected_loss, abs=5e-5)
        assert distance(taken(policy), expected) < EXACT
    # It would be seen if earlier turns were before the restarted ones.
    without = copy.deepcopy(episodes)
    for episode in without:
        for turn in episode.turns:
            turn.restart = False
    other = Batch.of(without, some_advantages(len(episodes)), off_policy)
    Learner(policy, settings).gradients(other)
    assert distance(taken(policy), expected) > 100 * EXACT


@pytest.mark.parametrize("limit", [1 << 20, 100])
@pytest.mark.parametrize("kind", ["choose", "text", "qwen_3"])
def test_frozen_layers_are_not_computed_again(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit: int
) -> None:
    monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
    lora = {"layers_to_transform": [1]}
    policy, _ = played(make_tiny, monkeypatch, kind, **lora)
    learner = Learner(policy, config(tmp_path, temperature=0.8))
    with policy.keeping():
        if kind in TEMPLATES:
            jobs = thinking_jobs(policy, count=2, each=4)
            episodes = play(policy, EnvironmentPool({"rooms": Rooms}), jobs, temperature=0.8)
        else:
            adapter = Alone() if kind == "choose" else WordsAlone(ReactConfig(max_new_tokens=6))
            episodes = flat(groups(policy, adapter, temperature=0.8))
        batch = Batch.of(episodes, some_advantages(len(episodes)))
        below: list[int] = []
        hook = policy.base.model.layers[0].mlp.register_forward_hook(lambda *_: below.append(1))
        learner.gradients(batch)
        hook.remove()
    found = taken(policy)
    learner.gradients(batch)
    assert not below
    assert distance(found, taken(policy)) < EXACT


@pytest.mark.parametrize("kind", KINDS)
def test_packs_hold_every_decision_once(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    _, episodes = played(make_tiny, monkeypatch, kind)
    expected = [(row, turn) for row, item in enumerate(episodes) for turn in range(len(item.turns))]
    for limit in (1, 100, 200, 400):
        packs = list(packs_module.into_packs(episodes, range(len(episodes)), limit))
        held = [
            (row, turn)
            for pack in packs
            for row, part in zip(pack.rows, pack.parts, strict=True)
            for turn in range(part.begin, part.end)
        ]
        assert sorted(held) == expected
        for pack in packs:
            assert pack.forest(TokenTree()).plan.size <= max(limit, needed_at_least(pack))
            for part in pack.parts:
                for turn in range(part.begin, part.end):
                    start = part.episode.turns[part.episode.first_turn(turn)]
                    assert start.prompt[: len(pack.prefix)] == list(pack.prefix)
                    assert len(start.prompt) > len(pack.prefix)


def test_what_contexts_have_in_common_is_computed_once() -> None:
    def episode(*turns: tuple[list[int], list[int]]) -> Episode:
        made = Episode("x", contrail.Task("x", "0", 0, "train"), 0)
        for number, (prompt, written) in enumerate(turns):
            made.turns.append(Turn(prompt, written, [0.0] * len(written), [], restart=number > 0))
        return made

    system = list(range(20))
    one = episode(([*system, 30, 31], [40, 41]), ([*system, 30, 31, 41, 32], [42, 43]))
    whole = Forest(TokenTree())
    [pack] = packs_module.into_packs([one], [0], 1 << 20)
    whole.add(pack.parts)
    # 22 of the first prompt, 40; 41 and 32 after that prompt, 42.
    assert whole.plan.size == 22 + 1 + 2 + 1
    later = Forest(TokenTree())
    later.add([TurnSpan(one, 1, 2)])
    assert later.plan.size == 24 + 1  # nothing of the first turn


class Winding(Rooms):
    """Three ways, of which each must be taken once: without memory at most 2 of 9 episodes win."""

    system_prompt = "Take every way once."
    max_turns = 3
    WAYS = ("left", "right", "up")

    def reset(self, task: contrail.Task) -> Observation:
        self.taken: list[str] = []
        return self.look()

    def look(self) -> Observation:
        last = ", ".join(self.taken[-2:]) or "nothing"
        return Observation(f"Before: {last}.", self.WAYS)

    def step(self, action: str) -> contrail.Step:
        self.taken.append(action)
        done = len(self.taken) == 3
        won = done and len(set(self.taken)) == 3
        return contrail.Step(self.look(), float(won), terminated=done, success=won)


def test_a_window_of_history_can_be_learnt_from(make_tiny: Make, tmp_path: Path) -> None:
    """Each turn shows the two actions before; the third way is known by these alone."""
    policy = make_tiny(trained=False)
    learner = Learner(
        policy,
        config(
            tmp_path,
            generation_batch_size=32,
            per_device_train_batch_size=32,
            num_generations=16,
            learning_rate=3e-3,
        ),
    )
    learner.begin(25)
    tasks = Winding().tasks("train")[:2]

    def rate(update: int, learn: bool) -> float:
        jobs = [
            Job("rooms", task, Alone(), generator(1, update, task.id, sample), sample)
            for task in tasks
            for sample in range(16)
        ]
        episodes = play(policy, EnvironmentPool({"rooms": Winding}), jobs)
        if learn:
            learner.update([episodes[:16], episodes[16:]], generator(update))
        return sum(episode.success for episode in episodes) / len(episodes)

    before = rate(0, learn=False)
    rates = [rate(update, learn=True) for update in range(1, 26)]
    assert sum(rates[-5:]) / 5 > max(0.7, before + 0.3)
