"""The Fisher matrix of `ewc`, against sums over all that the policy could have decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
from rooms import Rooms, train

import contrail
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.strategies.ewc import diagonal_fisher, normalized

import torch  # isort: skip
from contrail.training.shared import packs as packs_module  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from learning import Gradients, Make, One, Words, config, flat, groups  # isort: skip


class Two(Rooms):
    max_turns = 2


def brute_force(policy: Policy, episodes: Sequence[Episode], temperature: float) -> Gradients:
    """In float64, by PEFT's own forwards: every decision, every candidate or token of it.

    The policy must be one that no trainer has wrapped.
    """
    policy.model.double()
    model = policy.model
    named = policy.parameters
    fisher = {name: torch.zeros_like(item) for name, item in named.items()}

    def logits(ids: list[int], rows: slice) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0, rows]
        return found

    for episode in episodes:
        history: list[int] = []
        for turn in episode.turns:
            history += turn.prompt
            decisions = []
            if turn.choices is None:
                rows = slice(len(history) - 1, len(history) - 1 + len(turn.written))
                whole = logits(history + turn.written, rows)
                decisions = list((whole / temperature).log_softmax(-1))
            else:
                scores = []
                for branch in turn.choices:
                    rows = slice(len(history) - 1, len(history) - 1 + len(branch))
                    tokens = logits(history + branch, rows).log_softmax(-1)
                    scores.append(tokens[torch.arange(len(branch)), branch].mean())
                decisions = [(torch.stack(scores) / temperature).log_softmax(-1)]
            for logprobs in decisions if not turn.left_out else ():
                for logprob in logprobs:
                    gradients = torch.autograd.grad(
                        logprob, list(named.values()), retain_graph=True
                    )
                    weight = float(logprob.detach().exp()) / len(episodes)
                    for name, gradient in zip(named, gradients, strict=True):
                        fisher[name] += weight * gradient.square()
            history += turn.written
    return fisher


def trace(fisher: Gradients) -> float:
    return sum(float(item.double().sum()) for item in fisher.values())


def relative(found: Gradients, expected: Gradients) -> float:
    """The L2 distance of the diagonals, relative to the size of the expected one."""
    assert found.keys() == expected.keys()
    apart = sum(float((found[name] - expected[name]).square().sum()) for name in found)
    return (apart / sum(float(item.square().sum()) for item in expected.values())) ** 0.5


def made(
    make: Make, path: Path, adapter: contrail.Adapter, temperature: float, sharp: float, **of: Any
) -> tuple[Learner, list[Episode], Policy]:
    """A trainer, episodes that its policy has played, and the same policy once more."""
    policy, twin = make(), make()
    train(policy, sharp)
    train(twin, sharp)
    trainer = Learner(policy, config(path, temperature=temperature))
    return trainer, flat(groups(policy, adapter, temperature, **of)), twin


@pytest.mark.parametrize(("temperature", "sharp"), [(1.0, 0.1), (0.1, 0.1), (0.1, 0.3)])
def test_of_choices_it_is_exact(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    sharp: float,
) -> None:
    """Also where the policy is so sure that what it did says next to nothing."""
    trainer, episodes, twin = made(
        make_tiny, tmp_path, Choose(), temperature, sharp, count=2, size=2
    )
    expected = brute_force(twin, episodes, temperature)
    before = trainer.policy.snapshot()
    for limit in (packs_module.MAX_TOKENS, 150):
        monkeypatch.setattr(packs_module, "MAX_TOKENS", limit)
        trainer.extra_tokens = 0
        found = diagonal_fisher(trainer, episodes, 10_000, numpy.random.default_rng(0))
        assert trace(found) == pytest.approx(trace(expected), rel=1e-2)
        assert relative(found, expected) < 1e-2
        assert trainer.extra_tokens > 0
    parameters = trainer.policy.parameters
    assert all(item.grad is None for item in parameters.values())
    assert all(torch.equal(before[name], item) for name, item in parameters.items())


def test_turns_that_are_left_out_are_not_held(
    make_tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, episodes, twin = made(make_tiny, tmp_path, Choose(), 1.0, 0.1, count=1, size=3)
    monkeypatch.setattr(packs_module, "MAX_TOKENS", 150)
    for number, episode in enumerate(episodes):
        for place, turn in enumerate(episode.turns):
            turn.left_out = place % 2 == number % 2
    expected = brute_force(twin, episodes, 1.0)
    found = diagonal_fisher(trainer, episodes, 10_000, numpy.random.default_rng(0))
    assert relative(found, expected) < 1e-2
    kept = [found]
    for places in ((), range(100)):  # nothing is left out, and everything
        for episode in episodes:
            for place, turn in enumerate(episode.turns):
                turn.left_out = place in places
        kept.append(diagonal_fisher(trainer, episodes, 4, numpy.random.default_rng(0)))
    assert trace(kept[1]) > 1.1 * trace(found)
    assert trace(kept[2]) == 0


def test_of_free_text_it_is_exact_where_there_are_passes(make_tiny: Make, tmp_path: Path) -> None:
    adapter = Words(ReactConfig(max_new_tokens=1))
    trainer, episodes, twin = made(make_tiny, tmp_path, adapter, 0.8, 0.1, environment=One, size=2)
    expected = brute_force(twin, episodes[:1], 0.8)
    found = diagonal_fisher(trainer, episodes[:1], 10_000, numpy.random.default_rng(0))
    assert trace(found) == pytest.approx(trace(expected), rel=1e-2)
    assert relative(found, expected) < 1e-2


@pytest.mark.parametrize("temperature", [0.8, 0.15])
@pytest.mark.parametrize("adapter", [Words(ReactConfig(max_new_tokens=1)), Choose()])
def test_with_fewer_passes_it_is_estimated_without_bias(
    make_tiny: Make, tmp_path: Path, adapter: contrail.Adapter, temperature: float
) -> None:
    sizes = {"environment": One if isinstance(adapter, Words) else Two, "count": 1, "size": 1}
    trainer, episodes, twin = made(make_tiny, tmp_path, adapter, temperature, 0.1, **sizes)
    expected = brute_force(twin, episodes, temperature)
    estimates = []
    for seed in range(40):
        rng = numpy.random.default_rng(seed)
        estimates.append(diagonal_fisher(trainer, episodes, 4, rng))
    traces = numpy.array([trace(found) for found in estimates])
    error = traces.std(ddof=1) / len(traces) ** 0.5
    assert abs(traces.mean() - trace(expected)) < 4 * error
    assert error < 0.08 * trace(expected)
    mean = {name: sum(item[name] for item in estimates) / 40 for name in expected}
    # 160 passes: each entry is right to about (2/160)^(1/2).
    assert relative(mean, expected) < 0.2


def test_its_signs_come_from_the_generator_alone(make_tiny: Make, tmp_path: Path) -> None:
    trainer, episodes, _ = made(make_tiny, tmp_path, Choose(), 1.0, 0.1)
    one, again, other = (
        diagonal_fisher(trainer, episodes, 8, numpy.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_penalty_is_the_kl_divergence_to_second_order(make_tiny: Make, tmp_path: Path) -> None:
    """Along any one parameter: half the Fisher times its square is the divergence per episode."""
    trainer, episodes, _ = made(make_tiny, tmp_path, Choose(), 1.0, 0.1, environment=One)
    fisher = diagonal_fisher(trainer, episodes, 10_000, numpy.random.default_rng(0))
    name = max(fisher, key=lambda key: float(fisher[key].max()))
    place = int(fisher[name].argmax())

    def distributions() -> list[torch.Tensor]:
        with torch.no_grad():
            return [item for part in trainer.distributions(episodes) for item in part]

    before = distributions()
    step = 0.02
    with torch.no_grad():
        trainer.policy.parameters[name].view(-1)[place] += step
    divergence = sum(
        float((old.exp() * (old - new)).sum())
        for old, new in zip(before, distributions(), strict=True)
    )
    quadratic = 0.5 * float(fisher[name].view(-1)[place]) * step**2
    assert divergence / len(episodes) == pytest.approx(quadratic, rel=0.1)


def test_normalized_it_bounds_the_divergence_of_any_step(make_tiny: Make, tmp_path: Path) -> None:
    """The step that evades the penalty best, each parameter by the inverse of its slope, reaches
    the bound; others stay below it."""
    trainer, episodes, _ = made(make_tiny, tmp_path, Choose(), 1.0, 0.1, environment=One, size=1)
    one = [item for item in episodes if len(item.turns[0].choices or ()) > 2][:1]
    turn = one[0].turns[0]
    assert turn.choices
    turn.choices, turn.choice = turn.choices[:2], 0
    fisher = normalized(diagonal_fisher(trainer, one, 10_000, numpy.random.default_rng(0)))

    def logprobs() -> torch.Tensor:
        [[found]] = trainer.distributions(one)
        return found

    parameters = trainer.policy.parameters
    before = logprobs()
    slopes = torch.autograd.grad(before[0], list(parameters.values()))
    own = trainer.policy.snapshot()
    old = before.detach().double()
    for kind in ("evading", "equal", "gradient"):
        step = {}
        for name, slope in zip(parameters, slopes, strict=True):
            away = slope.sign() if kind != "gradient" else slope
            least = float(slope.abs().mean()) / 10
            step[name] = away / slope.abs().clamp(min=least) if kind == "evading" else away
        moved = sum(
            float((step[name] * slope).sum()) for name, slope in zip(step, slopes, strict=True)
        )
        with torch.no_grad():
            for name, parameter in parameters.items():
                step[name] *= 0.02 / moved
                parameter += step[name]
            new = logprobs().double()
        trainer.policy.load(own)
        divergence = float((old.exp() * (old - new)).sum())
        bound = 0.5 * sum(float((fisher[name] * step[name].square()).sum()) for name in step)
        assert divergence < 1.05 * bound, kind
        if kind == "evading":
            assert divergence > 0.2 * bound
        assert divergence > 1e-5
