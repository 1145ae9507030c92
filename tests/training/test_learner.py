"""The trainer: an update makes the rewarded likelier, and nothing leaks."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.seeding import generator

import torch  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.shared.forest import Forest, TurnSpan  # isort: skip
from contrail.model.tree import ROOT, TokenTree  # isort: skip
from contrail.training.advantages import group_advantages, group_scalars  # isort: skip
from contrail.training.objective import Batch

from contrail.training.learner import Learner  # isort: skip

from learning import (
    EXACT,
    VARIED,
    Gradients,
    Make,
    One,
    Words,
    changed,
    config,
    distance,
    flat,
    groups,
    parameters,
    rewarded,
    set_parameters,
    some_advantages,
    taken,
)  # isort: skip


def test_group_advantages_by_hand(make_tiny: Make) -> None:
    grouped = groups(make_tiny(), Choose())
    rewarded(grouped, [[0.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    third = (1 / 3) ** 0.5  # the standard deviation of 0, 1, 1, 0
    half = 0.5 / (third + 1e-4)
    assert group_advantages(grouped, "group") == pytest.approx([-half, half, half, -half] + [0] * 4)
    assert group_advantages(grouped, "none") == pytest.approx([-0.5, 0.5, 0.5, -0.5] + [0] * 4)
    spread = numpy.std([0, 1, 1, 0, 2, 2, 2, 2], ddof=1)
    half = 0.5 / (spread + 1e-4)
    assert group_advantages(grouped, "batch") == pytest.approx([-half, half, half, -half] + [0] * 4)


def test_only_the_adapter_is_trained(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Learner(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    before = parameters(policy)
    scalars = trainer.update(grouped, generator(0))
    moved = changed(policy, before)
    assert moved == {name for name in before if "lora_" in name}
    assert scalars["episodes"] == 8
    assert scalars["gradient_norm"] > 0
    assert all(numpy.isfinite(value) for value in scalars.values())


def test_an_update_makes_the_rewarded_likelier(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny(trained=False)
    trainer = Learner(policy, config(tmp_path, learning_rate=1e-3))
    grouped = groups(policy, Choose(), environment=One)
    wanted = grouped[0][0].turns[0].choice
    assert len({episode.turns[0].choice for episode in grouped[0]}) > 1
    rewarded(grouped[:1], [[float(item.turns[0].choice == wanted) for item in grouped[0]]])
    before = grouped[0][0].logprobs[0]
    trainer.update(grouped[:1], generator(0))
    forest = Forest(TokenTree())
    episode = grouped[0][0]
    forest.add([TurnSpan(episode, 0, len(episode.turns))])
    with torch.no_grad():
        assert float(forest.score(policy.base, 1.0)[0].logprobs[0]) > before


@pytest.mark.parametrize("limit", [2048, 60])
def test_frozen_layers_are_not_computed_again(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
    policy = make_tiny(layers_to_transform=[1])
    trainer = Learner(policy, config(tmp_path))
    with policy.keeping():
        episodes = [
            episode
            for adapter in (Choose(), Words(ReactConfig(max_new_tokens=6)))
            for episode in flat(groups(policy, adapter, count=4))
        ]
        advantages = some_advantages(len(episodes))
        below: list[int] = []
        hook = policy.base.model.layers[0].mlp.register_forward_hook(lambda *_: below.append(1))
        trainer.gradients(Batch.of(episodes, advantages))
        hook.remove()
    found = taken(policy)
    trainer.gradients(Batch.of(episodes, advantages))
    expected = taken(policy)
    assert not below
    assert distance(found, expected) < EXACT


def test_frozen_layers_are_computed_where_a_part_of_their_states_is_missing(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 150)
    policy = make_tiny(layers_to_transform=[1])
    trainer = Learner(policy, config(tmp_path))
    with policy.keeping():
        episodes = flat(groups(policy, Choose(), count=2))
        states = policy.kept
    assert states is not None
    advantages = some_advantages(len(episodes))
    trainer.gradients(Batch.of(episodes, advantages))
    expected = taken(policy)
    packs = list(packs_module.into_packs(episodes, range(len(episodes))))
    assert any(pack.prefix for pack in packs)
    whole = [states.tree.walk(ROOT, episodes[0].turns[0].prompt)]
    inner = [
        states.tree.walk(ROOT, pack.prefix[: place + 1])
        for pack in packs
        for place in range(len(pack.prefix))
    ]
    for missing in (whole, inner):
        states._known = torch.ones(len(states._known), dtype=torch.bool)
        states._known[missing] = False
        policy.kept = states
        trainer.gradients(Batch.of(episodes, advantages))
        assert distance(taken(policy), expected) < EXACT


def test_faulted_episodes_are_left_out(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    start = parameters(policy)
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    with_faults = copy.deepcopy(grouped)
    with_faults[0][2].fault = "step: it broke"
    with_faults[0][2].turns[-1].reward = 100.0
    never_began = copy.deepcopy(grouped[1][0])
    never_began.turns, never_began.fault = [], "reset: it broke"
    with_faults[1].append(never_began)
    alone = [copy.deepcopy(grouped[1][0]), never_began]  # nothing to compare it with
    ends = []
    for batch in ([[*grouped[0][:2], grouped[0][3]], grouped[1]], [*with_faults, alone]):
        set_parameters(policy, start)
        trainer = Learner(policy, config(tmp_path))
        scalars = trainer.update(batch, generator(0))
        assert scalars["episodes"] == 7
        ends.append(parameters(policy))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)
    before = parameters(policy)
    scalars = trainer.update([alone, [never_began] * 4], generator(0))
    assert scalars == {"episodes": 0, "no_signal": 1, "skipped_steps": 1}
    assert not changed(policy, before)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))])
def test_stages_do_not_leak(
    make_tiny: Make, tmp_path: Path, adapter: contrail.Adapter, adaptive: bool
) -> None:
    """From the same weights, a stage ends the same whether or not another came before."""
    start = parameters(make_tiny())
    grouped = groups(make_tiny(), adapter)
    rewarded(grouped, VARIED)
    other = groups(make_tiny(), adapter, count=3)[2:]
    rewarded(other, VARIED[:1])

    def end(before: bool, begin: bool) -> Gradients:
        policy = make_tiny()
        entropy = {"use_adaptive_entropy": True, "entropy_target": 100.0} if adaptive else {}
        settings = config(tmp_path, lr_scheduler_type="linear", beta=0.01, **entropy)
        trainer = Learner(policy, settings)
        if before:
            trainer.begin(5)
            for update in range(3):
                trainer.update(other, generator(0, update))
            set_parameters(policy, start)
        if begin:
            trainer.begin(2)
        for update in range(2):
            trainer.update(grouped, generator(0, update))
        return parameters(policy)

    alone, second, leaked = end(False, True), end(True, True), end(True, False)
    assert all(torch.equal(alone[name], second[name]) for name in start)
    assert any(not torch.equal(alone[name], leaked[name]) for name in start)


def test_schedule_covers_a_stage(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Learner(
        policy,
        config(tmp_path, lr_scheduler_type="linear", num_iterations=2, steps_per_generation=2),
    )
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    for _ in range(2):
        trainer.begin(3)
        rates = []
        for update in range(3):
            rates.append(trainer.trl.lr_scheduler.get_last_lr()[0])
            trainer.update(grouped, generator(0, update))
        assert rates == pytest.approx([1e-2, 1e-2 * 2 / 3, 1e-2 / 3])
        assert trainer.trl.lr_scheduler.get_last_lr()[0] == 0


def test_first_of_several_iterations_is_the_only_one(make_tiny: Make, tmp_path: Path) -> None:
    """With one iteration and two, the first step is the same; the second learns off policy."""
    ends = []
    grouped = groups(make_tiny(), Choose())
    rewarded(grouped, VARIED)
    for iterations in (1, 2):
        policy = make_tiny()
        trainer = Learner(policy, config(tmp_path, num_iterations=iterations))
        steps: list[Gradients] = []
        step = trainer._step

        def watched(
            *args: Any,
            step: Any = step,
            steps: list[Gradients] = steps,
            policy: Policy = policy,
        ) -> Any:
            made = step(*args)
            steps.append(parameters(policy))
            return made

        trainer._step = watched
        scalars = trainer.update(grouped, generator(0))
        assert all(numpy.isfinite(value) for value in scalars.values())
        assert len(steps) == iterations
        ends.append(steps)
    first, second = ends[1]
    assert max(float((ends[0][0][name] - first[name]).abs().max()) for name in first) < 1e-3
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_minibatches_are_parts_of_the_batch(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    ends = []
    for seed in (0, 0, 1):
        policy = make_tiny()
        trainer = Learner(policy, config(tmp_path, steps_per_generation=2, num_iterations=2))
        seen: list[list[Episode]] = []
        step = trainer._step

        def watched(batch: Batch, *args: Any, step: Any = step, seen: Any = seen) -> Any:
            seen.append(list(batch.episodes))
            return step(batch, *args)

        trainer._step = watched
        trainer.update(grouped, generator(seed))
        assert [len(part) for part in seen] == [4, 4, 4, 4]
        for halves in (seen[:2], seen[2:]):
            everyone = [id(item) for part in halves for item in part]
            assert sorted(everyone) == sorted(id(item) for item in flat(grouped))
        ends.append(parameters(policy))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(not torch.equal(ends[0][name], ends[2][name]) for name in ends[0])


def test_global_random_state_is_not_touched(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)

    def state() -> tuple[Any, ...]:
        return (
            random.getstate(),
            numpy.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
        )

    random.seed(11)
    numpy.random.seed(11)  # noqa: NPY002
    torch.manual_seed(11)
    before = state()
    trainer = Learner(policy, config(tmp_path, num_iterations=2, steps_per_generation=2, beta=0.1))
    assert state() == before
    trainer.begin(2)
    trainer.update(grouped, generator(0))
    assert state() == before


def test_describe(make_tiny: Make) -> None:
    assert group_scalars([]) == {"episodes": 0.0}
    grouped = groups(make_tiny(), Words(ReactConfig(max_new_tokens=3)))
    rewarded(grouped, VARIED)
    scalars = group_scalars(grouped)
    assert scalars["episodes"] == 8
    assert scalars["zero_variance_groups"] == 0
    assert scalars["share_of_episodes/rooms"] == scalars["share_of_decisions/rooms"] == 1
