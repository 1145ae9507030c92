"""Finds out how a model can be run: by contrail's fast path, by plain forwards, or not at all.

The fast path (token trees, kept keys, fused LoRA) is not right for every model, and one that it is
wrong for shows no sign of that. So its log-probabilities and gradients are compared, once a run and
before anything is written, with those of plain forwards on a few tokens. What a short sample cannot
show, because it depends on the length, is read off the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from contrail.engine.admission import CacheAdmission
from contrail.engine.engine import Engine
from contrail.engine.plain import PlainSampler
from contrail.engine.sampler import EngineSampler
from contrail.environment import Task
from contrail.episode import Episode, Turn
from contrail.errors import ContrailError
from contrail.model.attention import forward
from contrail.model.limits import constant_length, other_layers, sliding_window
from contrail.model.policy import Policy
from contrail.sampler import Choose, Decision, Generate, Sampler
from contrail.seeding import generator
from contrail.training.scorer import PlainScorer, Scorer
from contrail.training.shared.scorer import TreeScorer

# Not 1: log-probabilities of free text and of candidates depend on it in different ways.
TEMPERATURE = 0.8
# By how much the trained parameters are moved for the comparison: a fresh LoRA does nothing.
MOVED = 0.05


@dataclass(frozen=True)
class Tolerance:
    """How far the two may be apart: log-probabilities in nats, gradients in relative L2 norm.

    Wrong attention is off by whole nats; in 16 bits, rounding alone takes some tenths.
    """

    largest: float
    mean: float
    gradient: float


EXACT = Tolerance(2e-3, 5e-4, 1e-2)
SHORT = Tolerance(0.5, 0.1, 0.3)

Gradients = dict[str, torch.Tensor]


def verify(policy: Policy) -> None:
    """Set `policy.slow_because`, if plain forwards must run the model.

    Raises:
        ContrailError: not even these are right.
    """
    longest = constant_length(policy.model.config)
    if policy.max_context > longest:
        raise ContrailError(
            f"model: its rotary embedding changes for all tokens once there are more than "
            f"{longest} of them (rope type longrope), so the probability of what was written "
            f"depends on how long the episode becomes. Set max_context: {longest}."
        )
    with policy.using(_moved(policy)):
        policy.slow_because = _why_slow(policy)
        if policy.slow_because:
            _check_plain(policy)


def _moved(policy: Policy) -> dict[str, torch.Tensor]:
    """The trained parameters, each moved at random."""
    noise = torch.Generator().manual_seed(0)
    moved = {}
    for name, parameter in policy.parameters.items():
        size = float(parameter.detach().float().square().mean().sqrt()) or 1.0
        step = torch.randn(parameter.shape, generator=noise).mul_(MOVED * size)
        moved[name] = parameter.detach() + step.to(parameter)
    return moved


def _why_slow(policy: Policy) -> str:
    """Why the fast path is not right for the model; "" if it is."""
    kinds = other_layers(policy.model.config)
    if kinds:
        return f"its layers are not all ordinary attention (also {', '.join(kinds)})"
    try:
        if not _knows_window(policy):
            return "its sliding window is not passed to the attention"
        with policy.acting() as model:
            engine = Engine(model, TEMPERATURE)
            sampler = EngineSampler(engine, CacheAdmission(1 << 30), policy.chat.text)
            episodes = _play(sampler, policy)
        with policy.learning() as model:
            fast = _scored(TreeScorer(policy), model, episodes, policy)
    except Exception as error:  # noqa: BLE001 (a model's code may raise anything: it is the reason)
        return f"contrail's own forwards do not fit it ({_in_words(error)})"
    try:
        with policy.plain() as model:
            plain = _scored(PlainScorer(), model, episodes, policy)
    except Exception as error:
        raise _refusal(error) from error
    recorded = torch.tensor([value for episode in episodes for value in episode.logprobs])
    tolerance = _tolerance(policy)
    if not _agree(recorded, plain[0], tolerance) or not _agree(fast[0], plain[0], tolerance):
        return "contrail's own forwards give it other probabilities"
    if _distance(fast[1], plain[1]) > tolerance.gradient:
        return "contrail's own forwards give it other gradients"
    return ""


def _check_plain(policy: Policy) -> None:
    """Refuse a model whose plain forwards do not agree with one another.

    The sampler's forwards end where a decision is made, and the scorer's do not.
    """
    try:
        with policy.plain() as model:
            with torch.inference_mode():
                episodes = _play(PlainSampler(model, TEMPERATURE, policy.chat.text), policy)
            scored, _ = _scored(PlainScorer(), model, episodes, policy)
    except Exception as error:
        raise _refusal(error) from error
    recorded = torch.tensor([value for episode in episodes for value in episode.logprobs])
    if not _agree(recorded, scored, _tolerance(policy)):
        raise ContrailError(
            "model: it is not a causal language model: the probability that it gives a token "
            "depends on the tokens after it, or on the other sequences of a batch."
        )


def _play(sampler: Sampler, policy: Policy) -> list[Episode]:
    """Two episodes that begin alike, with choices and free text, of random tokens."""
    rng = generator(0, "verify")
    vocabulary = policy.vocabulary

    def some(count: int) -> list[int]:
        return [int(token) for token in rng.integers(vocabulary, size=count)]

    start, stem = some(8), some(1)
    candidates = [some(1), [*stem, *some(1)], [*stem, *some(2)]]
    episodes = [Episode("verify", Task("verify", "0", 0, "train"), number) for number in range(2)]
    contexts = [sampler.begin("verify") for _ in episodes]
    prompts = [[*start, *some(1)] for _ in episodes]
    for number in range(3):
        requests = [
            Generate(context, prompt, 2, (), (), rng)
            if number == 1
            else Choose(context, prompt, candidates, rng)
            for context, prompt in zip(contexts, prompts, strict=True)
        ]
        for request in requests:
            sampler.submit(request)
        decided: dict[int, Decision] = {}
        while sampler.ready() and len(decided) < len(requests):
            decided.update({id(request): made for request, made in sampler.step() or ()})
        for episode, request in zip(episodes, requests, strict=True):
            made = decided[id(request)]
            choices = candidates if made.choice is not None else None
            episode.turns.append(
                Turn(
                    list(request.prompt),
                    made.written,
                    made.logprobs,
                    made.entropies,
                    choices,
                    made.choice,
                )
            )
        prompts = [some(2) for _ in episodes]
    for context in contexts:
        sampler.forget(context)
    return episodes


def _scored(
    scorer: Scorer, model: PreTrainedModel, episodes: Sequence[Episode], policy: Policy
) -> tuple[torch.Tensor, Gradients]:
    """The decisions' log-probabilities, and gradients of a sum of them with signs."""
    values: dict[tuple[int, int], torch.Tensor] = {}
    slices = scorer.split(episodes, range(len(episodes)))
    try:
        with torch.enable_grad():
            for scored, scores in scorer.score(model, slices, TEMPERATURE):
                terms = []
                for row, part, one in zip(scored.rows, scored.parts, scores, strict=True):
                    values[row, part.begin] = one.logprobs.detach().cpu()
                    signs = torch.tensor([1.0 - 1.5 * ((row + part.begin) % 2)])
                    terms.append((one.logprobs * signs.to(one.logprobs)).sum())
                torch.stack(terms).sum().backward()
        gradients = {
            name: item.grad.float().cpu()
            for name, item in policy.parameters.items()
            if item.grad is not None
        }
    finally:
        for item in policy.parameters.values():
            item.grad = None
    return torch.cat([values[key] for key in sorted(values)]), gradients


def _knows_window(policy: Policy) -> bool:
    """Whether the layers with a sliding window say so, where episodes may outgrow it."""
    window = sliding_window(policy.model.config)
    if window is None or policy.max_context <= window:
        return True
    seen = _Windows()
    tokens = torch.zeros(2, dtype=torch.long, device=policy.model.device)
    positions = torch.arange(2, device=policy.model.device)
    with torch.inference_mode(), policy.plain() as model:
        forward(model, tokens, positions, positions, seen)
    kinds = getattr(policy.model.config.get_text_config(), "layer_types", None)
    expected = kinds.count("sliding_attention") if kinds else 1
    return sum(found == window for found in seen.windows.values()) >= expected


class _Windows:
    """A layout that only notes the layers' windows."""

    def __init__(self) -> None:
        self.windows: dict[int, int | None] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        self.windows[layer] = window
        return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)


def _tolerance(policy: Policy) -> Tolerance:
    return EXACT if policy.base.dtype.itemsize >= 4 else SHORT


def _agree(found: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance) -> bool:
    """Whether log-probabilities agree; not a number agrees with nothing."""
    difference = (found - expected).abs()
    return bool(difference.max() <= tolerance.largest and difference.mean() <= tolerance.mean)


def _distance(found: Gradients, expected: Gradients) -> float:
    """The relative L2 distance; a gradient that is missing is zero."""
    nothing = torch.zeros(())
    names = found.keys() | expected.keys()
    difference = sum(
        float((found.get(name, nothing) - expected.get(name, nothing)).square().sum())
        for name in names
    )
    size = sum(float(value.square().sum()) for value in expected.values())
    return float((difference / max(size, 1e-30)) ** 0.5)


def _refusal(error: Exception) -> ContrailError:
    return ContrailError(
        f"model: transformers cannot run it as a causal language model: {_in_words(error)}"
    )


def _in_words(error: Exception) -> str:
    """An error in one short line."""
    text = " ".join(str(error).split())
    if isinstance(error, ContrailError):
        return text
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
