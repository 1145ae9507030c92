"""How far one policy is from others, decision by decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from contrail.episode import Episode
from contrail.model.hidden_states import HiddenStates
from contrail.model.policy import Policy
from contrail.training.scorer import Scorer

LoRA = Mapping[str, torch.Tensor] | None
"""A snapshot of a policy, or None for the policy before any training."""


@torch.no_grad()
def divergences(
    policy: Policy, scorer: Scorer, temperature: float, episode: Episode, others: Sequence[LoRA]
) -> list[float]:
    """Return the divergence of the policy from each of the others over an episode, in nats.

    It is sum_t KL(pi(. | h_t) || other(. | h_t)), over the decisions t of the episode with the
    history h_t before each: exact over the candidates of a choice, or over the vocabulary for each
    token of free text, at the temperature that samples. In the mean over episodes that the policy
    plays, this is the divergence of the distributions of whole episodes.

    All policies run as PEFT runs them, so that equal ones differ in nothing. One part of an episode
    is scored under all before the next, so memory is that of a part. The frozen layers, which all
    have in common, are computed once.
    """
    kept = HiddenStates()
    scored = [
        scorer.distributions(policy.base, [episode], temperature, kept)
        for _ in range(1 + len(others))
    ]
    sums = [0.0] * len(others)
    while True:
        with policy.plain():
            own = next(scored[0], None)
        if own is None:
            return sums
        for index, other in enumerate(others):
            with _as(policy, other):
                theirs = next(scored[index + 1])
            pairs = zip(own, theirs, strict=True)
            sums[index] += sum(kl_divergence(one, another) for one, another in pairs)


def kl_divergence(logprobs: torch.Tensor, others: torch.Tensor) -> float:
    """Return KL(p || q) of two distributions, given by the log-probabilities of their values."""
    logprobs, others = logprobs.double(), others.double()
    terms = logprobs.exp() * (logprobs - others)
    terms = torch.where(logprobs.isneginf(), 0.0, terms)
    return max(0.0, float(terms.sum()))  # rounding may take it below 0


@contextmanager
def _as(policy: Policy, lora: LoRA) -> Iterator[PreTrainedModel]:
    """Context manager: the model with another LoRA, as PEFT runs it."""
    snapshot = policy.start if lora is None else lora
    if snapshot is not None:
        with policy.using(snapshot), policy.plain() as model:
            yield model
        return
    with policy.plain() as model, policy.model.disable_adapter():
        yield model
