"""Runs the model for many episodes at once. It knows token ids and nothing of text.

Every forward holds only tokens that no earlier forward has computed: a new observation, candidate
actions, a sampled token. What episodes share (system prompt, start state, equal histories) is
stored, and computed, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from contrail.attention import KeyStore, forward
from contrail.tree import Batch, Growth, TokenTree, batch

# Logits are handled in slices of at most so many values: 64 MB in fp32.
LOGITS_AT_ONCE = 1 << 24


@dataclass
class Context:
    """An episode's place in the tree: the slots of its tokens so far."""

    path: list[int] = field(default_factory=list)


@dataclass
class Request:
    """Tokens to append to a context, and what is asked there.

    With `branches`: the log-probability of each token of each branch. Without: that of every token
    of the vocabulary, at the engine's temperature.
    """

    context: Context
    tokens: list[int]
    branches: list[list[int]] = field(default_factory=list)


@dataclass
class Answer:
    """`branches[b]`: log-probabilities (tokens of b,) in fp32; `next`: (vocabulary,) in fp32."""

    branches: list[torch.Tensor] = field(default_factory=list)
    next: torch.Tensor | None = None


class Engine:
    """Holds the tree of all unfinished episodes, and the keys and values of its tokens.

    Args:
        model: any transformers causal LM with a standard attention.
        temperature: next-token log-probabilities are those of logits / temperature.
        max_tokens: tokens in one forward, about; bounds the memory of activations.
    """

    def __init__(
        self, model: PreTrainedModel, temperature: float = 1.0, max_tokens: int = 2048
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._tree = TokenTree()
        self._store = KeyStore()
        self._branch_slots: dict[int, list[list[int]]] = {}
        self.computed_tokens = 0

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> list[Answer]:
        """Append each request's tokens to its context, and answer it. Equal requests run once."""
        answers: list[Answer | None] = [None] * len(requests)
        same: dict[tuple[object, ...], list[int]] = {}
        for index, request in enumerate(requests):
            path = request.context.path
            key = (
                path[-1] if path else -1,
                tuple(request.tokens),
                tuple(tuple(branch) for branch in request.branches),
            )
            same.setdefault(key, []).append(index)
        pending: list[tuple[list[int], Growth]] = []
        tokens = 0
        for indices in same.values():
            first = requests[indices[0]]
            growth = self._tree.grow(first.context.path, first.tokens, first.branches)
            pending.append((indices, growth))
            tokens += len(growth.segment.slots)
            if tokens >= self._max_tokens:
                self._run(requests, pending, answers)
                pending, tokens = [], 0
        if pending:
            self._run(requests, pending, answers)
        return [answer for answer in answers if answer is not None]

    def choose(self, context: Context, branch: int) -> None:
        """Make a branch of the context's last request part of it, but for its last token."""
        slots = self._branch_slots[context.path[-1]][branch]
        self._tree.hold(slots)
        context.path.extend(slots)

    def settle(self) -> None:
        """Forget the branches of the last `run` that no context has chosen."""
        for branches in self._branch_slots.values():
            for slots in branches:
                self._tree.drop(slots)
        self._branch_slots.clear()

    def finish(self, context: Context) -> None:
        """Free what only this context held."""
        self._tree.release(context.path)
        context.path = []

    def _run(
        self,
        requests: Sequence[Request],
        pending: Sequence[tuple[list[int], Growth]],
        answers: list[Answer | None],
    ) -> None:
        growths = [growth for _, growth in pending]
        device = self._model.device
        laid = batch([growth.segment for growth in growths], stored=True, device=device)
        self.computed_tokens += len(laid.tokens)
        made = self._answers(laid, growths, [requests[indices[0]] for indices, _ in pending])
        for (indices, growth), answer in zip(pending, made, strict=True):
            for place, index in enumerate(indices):
                context = requests[index].context
                if place:
                    self._tree.hold(growth.path[len(context.path) :])
                context.path = list(growth.path)
                answers[index] = answer
            if growth.branches:
                self._branch_slots[growth.path[-1]] = growth.branches

    def _answers(
        self, laid: Batch, growths: Sequence[Growth], requests: Sequence[Request]
    ) -> list[Answer]:
        rows: list[int] = []
        wanted: list[int] = []
        for first, growth, request in zip(laid.rows, growths, requests, strict=True):
            if not request.branches:
                rows.append(first + growth.segment.chain - 1)
                wanted.append(-1)
            for edges, branch in zip(growth.edges, request.branches, strict=True):
                rows.extend(first + place for place in edges)
                wanted.extend(branch)
        kept, place_of = torch.tensor(rows).unique(return_inverse=True)
        kept = kept.to(laid.tokens.device)
        logits = forward(self._model, laid, kept, self._store, self._tree.size)
        values, full = _pick(logits, place_of, torch.tensor(wanted), self._temperature)
        answers = []
        at = 0
        for request in requests:
            if not request.branches:
                answers.append(Answer(next=full[at]))
                at += 1
                continue
            answer = Answer()
            for branch in request.branches:
                answer.branches.append(values[at : at + len(branch)])
                at += len(branch)
            answers.append(answer)
        return answers


def _pick(
    logits: torch.Tensor, rows: torch.Tensor, wanted: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """On the CPU: the log-probability of token `wanted[i]` after row `rows[i]`; where it is
    negative, those of the whole vocabulary at the temperature."""
    values = torch.empty(len(rows), dtype=torch.float32)
    full: dict[int, torch.Tensor] = {}
    slice_rows = max(1, LOGITS_AT_ONCE // logits.shape[1])
    by_row = rows.argsort(stable=True)
    sorted_rows = rows[by_row]
    for begin in range(0, logits.shape[0], slice_rows):
        bounds = torch.tensor([begin, begin + slice_rows])
        low, high = torch.searchsorted(sorted_rows, bounds).tolist()
        part = logits[begin : begin + slice_rows].float()
        logprobs = part.log_softmax(-1)
        chosen = by_row[low:high]
        local = sorted_rows[low:high] - begin
        picked = logprobs[local.to(logits.device), wanted[chosen].clamp(min=0).to(logits.device)]
        values[chosen] = picked.cpu()
        for index, row in zip(chosen.tolist(), local.tolist(), strict=True):
            if wanted[index] < 0:
                full[index] = (part[row] / temperature).log_softmax(-1).cpu()
    return values, full
