"""Forwards as transformers runs them, for any causal language model: whole sequences, padded.

They use nothing of contrail: no tree, no kept keys, no fused LoRA. The fast path is compared with
them (`contrail.training.verify`), and they run the models for which the fast path is wrong.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

# Tokens of one forward without gradients, padding included; a longer sequence has one to itself.
MAX_TOKENS = 1024


@dataclass(frozen=True)
class Query:
    """Asks for the logits after the last `count` of the tokens."""

    tokens: tuple[int, ...]
    count: int

    @classmethod
    def of(cls, context: Sequence[int], written: Sequence[int]) -> Query:
        """Asks for the logits that predict the tokens written after a context."""
        return cls((*context, *written[:-1]), len(written))


def answer(model: PreTrainedModel, queries: Sequence[Query]) -> list[torch.Tensor]:
    """The logits that each query asks for, (count, vocabulary) in fp32, by one forward.

    A sequence that another one begins with is not computed for itself.
    """
    rows = _rows(queries)
    longest = max(len(tokens) for tokens in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    # Padding on the right comes after all queries: a causal model never sees it.
    logits = model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
    ).logits
    found = []
    for query in queries:
        row, end = _row_of(rows, query.tokens), len(query.tokens)
        found.append(logits[row, end - query.count : end].float())
    return found


def portions(queries: Sequence[Query], most: int = MAX_TOKENS) -> Iterator[list[Query]]:
    """Divide queries, in their order, among forwards of about `most` tokens."""
    portion: list[Query] = []
    for query in queries:
        if portion and padded_size([*portion, query]) > most:
            yield portion
            portion = []
        portion.append(query)
    if portion:
        yield portion


def padded_size(queries: Sequence[Query]) -> int:
    """Tokens of the forward that answers the queries, padding included."""
    rows = _rows(queries)
    return len(rows) * max(len(tokens) for tokens in rows)


def picked(logprobs: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """The log-probability of `tokens[i]` in row i."""
    wanted = torch.tensor(tokens, device=logprobs.device)
    return logprobs.gather(1, wanted.unsqueeze(1))[:, 0]


def _rows(queries: Sequence[Query]) -> list[tuple[int, ...]]:
    """Return the queries' sequences, sorted, without those that are the beginning of another."""
    every = sorted({query.tokens for query in queries})
    following = [*every[1:], ()]
    return [
        tokens
        for tokens, after in zip(every, following, strict=True)
        if after[: len(tokens)] != tokens
    ]


def _row_of(rows: Sequence[tuple[int, ...]], tokens: tuple[int, ...]) -> int:
    # Sorted sequences that begin with the tokens follow them directly.
    return bisect_left(rows, tokens)
