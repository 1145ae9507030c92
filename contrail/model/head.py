"""Log-probabilities of tokens without logits of the vocabulary.

Logits of many rows take more memory than everything else, and most of them are read once. Here the
head runs on a few rows at a time, and the values for the backward pass are computed in the same
pass: with hidden state h, token t and weights W,  d log p(t) / d h = W[t] - sum_v p(v) W[v].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

# Rows whose logits are held at once: 50 MB of them for a vocabulary of 49,152 in fp32.
ROWS = 256


class Head:
    """The linear layer that ends a causal language model.

    Args:
        layer: without a bias.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        self._layer: torch.nn.Module = layer
        self._weight = layer.weight

    @classmethod
    def of(cls, model: PreTrainedModel) -> Head | None:
        """That of a model; None if its logits are not simply those of a linear layer."""
        layer = model.get_output_embeddings()
        if type(layer) is not torch.nn.Linear or layer.bias is not None:
            return None
        head = cls(layer)
        tokens = torch.tensor([[1, 2, 3]], device=model.device)
        with torch.no_grad():
            try:
                expected = model(input_ids=tokens, use_cache=False).logits
                with head.bypassed():
                    hidden = model(input_ids=tokens, use_cache=False).logits
            except (TypeError, ValueError, IndexError, AttributeError, RuntimeError):
                return None
            found = layer(hidden) if hidden.shape[-1] == layer.in_features else None
        return head if found is not None and torch.equal(found, expected) else None

    @contextmanager
    def bypassed(self) -> Iterator[None]:
        """Within, the model's logits are the hidden states that the head would be given."""
        self._layer.forward = _pass_on
        try:
            yield
        finally:
            del self._layer.forward

    def logprobs(
        self, hidden: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        """The log-probability of `tokens[i]` after row `rows[i]`, (m,) in fp32.

        Args:
            hidden: (n, width).
            rows: (m,).
            tokens: (m,).
            temperature: of the softmax over the vocabulary.
        """
        found: torch.Tensor = _Logprobs.apply(  # type: ignore[no-untyped-call]
            hidden, self._weight, rows, tokens, temperature
        )
        return found


def _pass_on(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


class _Logprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        picked = torch.empty(len(rows), dtype=torch.float32, device=hidden.device)
        means = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for begin in range(0, len(hidden), ROWS):
            part = hidden[begin : begin + ROWS]
            logits = torch.nn.functional.linear(part, weight).float()
            if temperature != 1.0:
                logits /= temperature
            here = ((rows >= begin) & (rows < begin + len(part))).nonzero()[:, 0]
            totals = logits.logsumexp(-1)
            local = rows[here] - begin
            picked[here] = logits[local, tokens[here]] - totals[local]
            if means is not None:
                torch.mm(
                    logits.sub_(totals[:, None]).exp_().to(weight.dtype),
                    weight,
                    out=means[begin : begin + len(part)],
                )
        if means is not None:
            ctx.save_for_backward(weight, rows, tokens, means)
        ctx.temperature = temperature
        return picked

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, rows, tokens, means = ctx.saved_tensors
        gradient = gradient / ctx.temperature
        total = gradient.new_zeros(len(means)).index_add_(0, rows, gradient)
        passed = total[:, None] * -means.float()
        passed.index_add_(0, rows, gradient[:, None] * weight[tokens].float())
        return passed.to(means.dtype), None, None, None, None
