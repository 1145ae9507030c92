"""Finds out how to run a model: by contrail's fast path, by plain forwards, or not at all.

The fast path (token trees, kept keys, fused LoRA) is not right for every model, and a wrong one
shows no sign of it. So its log-probabilities are compared, once per run and before anything is
written, with those of plain forwards on a few tokens. Properties that a short sample cannot show,
because they depend on the length, are read from the configuration.
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
from contrail.model.plain import Query, answer
from contrail.model.policy import Policy
from contrail.sampler import Choose, Context, Decision, Generate, Request, Sampler
from contrail.seeding import generator
from contrail.training.scorer import PlainScorer, Scorer
from contrail.training.shared.scorer import TreeScorer

# Not 1: log-probabilities of free text and of candidates depend on it in different ways.
TEMPERATURE = 0.8
# How far the trained parameters are moved for the comparison: a fresh LoRA has no effect.
MOVED = 0.05


@dataclass(frozen=True)
class Tolerance:
    """The largest differences of log-probabilities, in nats.

    Wrong attention differs by whole nats. In 16 bits rounding alone causes some tenths: 0.23 at
    most and 0.06 on average in SmolLM2-135M.
    """

    largest: float
    mean: float


EXACT = Tolerance(2e-3, 5e-4)
SHORT = Tolerance(1.0, 0.2)


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
        with policy.learning() as model:
            admission = CacheAdmission(1 << 30)
            engine = Engine(model, TEMPERATURE)
            episodes = _play(EngineSampler(engine, admission, policy.chat.text), policy)
            fast = _scored(TreeScorer(policy), model, episodes)
    except Exception as error:  # noqa: BLE001 (a model's code may raise anything: it is the reason)
        return f"contrail's own forwards do not fit it ({_in_words(error)})"
    try:
        with policy.plain() as model:
            plain = _scored(PlainScorer(), model, episodes)
    except Exception as error:
        raise _refusal(error) from error
    layers = getattr(policy.model.config.get_text_config(), "num_hidden_layers", None)
    if engine.layers < (layers or 0):  # where weights are small, probabilities hardly show it
        return f"only {engine.layers} of its {layers} layers use transformers' attention interface"
    if _agree(_recorded(episodes), plain, policy) and _agree(fast, plain, policy):
        return ""
    return "contrail's own forwards give it other probabilities"


def _check_plain(policy: Policy) -> None:
    """Refuse a model whose plain forwards do not agree with one another.

    The sampler's forwards end where a decision is made, and the scorer's do not.
    """
    try:
        with policy.plain() as model:
            causal = _is_causal(model, policy)
            episodes = _play(PlainSampler(model, TEMPERATURE, policy.chat.text), policy)
            scored = _scored(PlainScorer(), model, episodes)
    except Exception as error:
        raise _refusal(error) from error
    if not causal or not _agree(_recorded(episodes), scored, policy):
        raise ContrailError(
            "model: it is not a causal language model: the probability that it gives a token "
            "depends on the tokens after it, or on the other sequences of a batch."
        )


@torch.no_grad()
def _is_causal(model: PreTrainedModel, policy: Policy) -> bool:
    """Whether logits stay the same when later tokens and other sequences change."""
    rng = generator(0, "causal")
    first, second, other = (
        tuple(int(token) for token in rng.integers(policy.vocabulary, size=12)) for _ in range(3)
    )
    changed = (*first[:8], *second[8:])
    (before, *_), (after, *_) = (
        answer(model, [Query(tokens, 12), Query(beside, 12)])
        for tokens, beside in ((first, second), (changed, other))
    )
    rounding = 1e-4 if model.dtype.itemsize >= 4 else 2e-2
    return bool((before[:8] - after[:8]).abs().max() <= rounding * before.abs().max())


def _play(sampler: Sampler, policy: Policy) -> list[Episode]:
    """Return two episodes that begin alike, with choices and free text, of random tokens."""
    rng = generator(0, "verify")
    vocabulary = policy.vocabulary

    def some(count: int) -> list[int]:
        return [int(token) for token in rng.integers(vocabulary, size=count)]

    start, prefix = some(8), some(1)
    candidates = [some(1), [*prefix, *some(1)], [*prefix, *some(2)]]
    episodes = [Episode("verify", Task("verify", "0", 0, "train"), number) for number in range(2)]
    contexts = [sampler.begin("verify") for _ in episodes]
    for turn in range(2):
        requests: list[Request] = [
            Choose(context, [*(() if turn else start), *some(2)], candidates, rng)
            if turn or number
            else Generate(context, [*start, *some(2)], 2, (), (), rng)
            for number, context in enumerate(contexts)
        ]
        for request in requests:
            sampler.submit(request)
        decided: dict[Context, Decision] = {}
        while len(decided) < len(requests):
            assert sampler.ready()
            decided.update({request.context: made for request, made in sampler.step() or ()})
        for episode, request in zip(episodes, requests, strict=True):
            episode.turns.append(_turn(request, decided[request.context]))
    for context in contexts:
        sampler.forget(context)
    return episodes


def _turn(request: Request, made: Decision) -> Turn:
    return Turn(
        prompt=list(request.prompt),
        written=made.written,
        logprobs=made.logprobs,
        entropies=made.entropies,
        choices=[list(one) for one in request.candidates] if isinstance(request, Choose) else None,
        choice=made.choice,
    )


@torch.no_grad()
def _scored(scorer: Scorer, model: PreTrainedModel, episodes: Sequence[Episode]) -> torch.Tensor:
    """The decisions' log-probabilities."""
    slices = scorer.split(episodes, range(len(episodes)))
    values = {
        (row, part.begin): scores.logprobs.cpu()
        for scored, every in scorer.score(model, slices, TEMPERATURE)
        for row, part, scores in zip(scored.rows, scored.parts, every, strict=True)
    }
    return torch.cat([values[key] for key in sorted(values)])


def _recorded(episodes: Sequence[Episode]) -> torch.Tensor:
    return torch.tensor([value for episode in episodes for value in episode.logprobs])


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


def _agree(found: torch.Tensor, expected: torch.Tensor, policy: Policy) -> bool:
    """Return whether log-probabilities agree; not-a-number agrees with nothing."""
    tolerance = EXACT if policy.base.dtype.itemsize >= 4 else SHORT
    difference = (found - expected).abs()
    return bool(difference.max() <= tolerance.largest and difference.mean() <= tolerance.mean)


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
