"""How the model decides: a token of the vocabulary is sampled, or one of several candidates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy
import torch

from contrail.errors import ContrailError

# The number of tokens per block when the vocabulary is searched: summing blocks is cheaper than a
# running sum over all tokens.
BLOCK = 256

# The largest number of logits that are handled at once: 64 MB in fp32.
LOGITS_AT_ONCE = 1 << 24


@dataclass
class Drawn:
    """A random draw."""

    choice: int
    """The token, or the index of the candidate."""
    logprob: float
    """Its log-probability, under the distribution that it was drawn from."""
    entropy: float
    """The entropy of that distribution, in nats."""
    choice_logprobs: list[float] | None = None
    """The log-probabilities of all candidates."""


def choice_logprobs(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (candidates,) of the candidates, in fp32.

    Args:
        scores: (candidates,) mean token log-probability of each: normalised by length, as in
            TWOSOME (arXiv:2401.14151), or long actions would hardly ever be tried.
        temperature: of the softmax over the candidates.
    """
    return (scores.float() / temperature).log_softmax(-1)


def choose(scores: torch.Tensor, temperature: float, draw: float | None) -> Drawn:
    """Draw one of the candidates; see `choice_logprobs`."""
    logprobs = choice_logprobs(scores, temperature).double().numpy()
    probabilities = numpy.exp(logprobs)
    if draw is None:
        choice = int(logprobs.argmax())
    else:
        cumulative = probabilities.cumsum()
        place = numpy.searchsorted(cumulative, draw * cumulative[-1], side="right")
        choice = min(int(place), len(logprobs) - 1)
    surprise = numpy.where(probabilities > 0, logprobs, 0.0)
    entropy = max(0.0, -float((probabilities * surprise).sum()))
    return Drawn(choice, float(logprobs[choice]), entropy, logprobs.tolist())


def sample(logits: torch.Tensor, temperature: float, draws: Sequence[float | None]) -> list[Drawn]:
    """Draw one token a row.

    Args:
        logits: (rows, vocabulary).
        temperature: of the softmax.
        draws: for each row uniform from [0, 1), or None for the likeliest token.
    """
    size = max(1, LOGITS_AT_ONCE // logits.shape[1])
    decisions: list[Drawn] = []
    for begin in range(0, len(draws), size):
        part = logits[begin : begin + size].float()
        decisions.extend(_sample(part, temperature, draws[begin : begin + size]))
    return decisions


def check_finite(drawn: Iterable[Drawn]) -> None:
    """Refuse probabilities that are not numbers."""
    if not all(math.isfinite(one.logprob) for one in drawn):
        raise ContrailError(
            "the model's probabilities are not numbers. Its weights may have grown without "
            "bound: lower grpo.learning_rate, or what the strategy adds to the loss."
        )


def _sample(logits: torch.Tensor, temperature: float, draws: Sequence[float | None]) -> list[Drawn]:
    if temperature != 1.0:
        logits = logits / temperature
    greedy = torch.tensor([draw is None for draw in draws], device=logits.device)
    uniform = torch.tensor([draw or 0.0 for draw in draws], device=logits.device)
    weights = logits.softmax(-1)
    top, likeliest = weights.max(-1, keepdim=True)
    total = logits.gather(1, likeliest) - top.log()  # log of the sum over exp(logits)
    entropies = total[:, 0] - torch.linalg.vecdot(weights, logits)
    if not bool(entropies.isfinite().all()):  # logits of -inf, of tokens never meant to be said
        entropies = torch.special.entr(weights).sum(-1)
    padding = -weights.shape[1] % BLOCK
    if padding:
        weights = torch.nn.functional.pad(weights, (0, padding))
    blocks = weights.unflatten(-1, (-1, BLOCK))
    ends = blocks.sum(-1).cumsum(-1)
    aim = (uniform * ends[:, -1]).unsqueeze(-1)
    block = torch.searchsorted(ends, aim, right=True).clamp(max=ends.shape[1] - 1)
    before = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block.unsqueeze(-1).expand(-1, 1, BLOCK))[:, 0]
    place = torch.searchsorted(inside.cumsum(-1), aim - before, right=True).clamp(max=BLOCK - 1)
    # Rounding can carry the aim past the last token that has any weight.
    place = torch.where(inside.gather(1, place) > 0, place, inside.argmax(-1, keepdim=True))
    tokens = torch.where(greedy, likeliest[:, 0], (block * BLOCK + place)[:, 0])
    logprobs = logits.gather(1, tokens.unsqueeze(-1)) - total
    return [
        Drawn(*values)
        for values in zip(
            tokens.tolist(), logprobs[:, 0].tolist(), entropies.clamp(min=0).tolist(), strict=True
        )
    ]


def token_logprobs(
    logits: torch.Tensor, rows: Sequence[int], tokens: Sequence[int]
) -> torch.Tensor:
    """On the CPU, in fp32: the log-probability of `tokens[i]` after row `rows[i]`: (len(rows),)."""
    size = max(1, LOGITS_AT_ONCE // logits.shape[1])
    at = torch.tensor(rows, device=logits.device)
    wanted = torch.tensor(tokens, device=logits.device)
    values = torch.empty(len(rows), device=logits.device)
    for begin in range(0, logits.shape[0], size):
        part = logits[begin : begin + size].float()
        chosen = ((at >= begin) & (at < begin + size)).nonzero()[:, 0]
        local = at[chosen] - begin
        values[chosen] = part[local, wanted[chosen]] - part.logsumexp(-1)[local]
    return values.cpu()
