"""Runs the model for many episodes at once. It handles token ids only, no text.

Every forward holds only tokens that no earlier forward has computed for the episode: a new
observation, candidate actions, a sampled token. A beginning that episodes share (system prompt,
start state, equal histories) is computed once, and stored in the cache row of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy
import torch
from transformers import PreTrainedModel

from contrail.engine.batch import Batch, Context, Extension
from contrail.engine.cache import Cache, Cached
from contrail.engine.decide import Drawn, choose, sample, token_logprobs
from contrail.model.attention import forward
from contrail.model.frozen_layers import FrozenLayers
from contrail.model.hidden_states import HiddenStates
from contrail.model.tree import ROOT, TokenTree, common_prefix_length

# The smallest common prefix for which a new episode copies the keys of another one.
WORTH_COPYING = 16


class Engine:
    """Holds the cache of all unfinished contexts. What is decided is appended to its context.

    Args:
        model: any transformers causal LM with a standard attention.
        temperature: decisions are drawn from softmax(scores / temperature).
        max_tokens: tokens in one forward, about; bounds the memory of activations.
        frozen: the layers whose outputs the update can use again, if any.
        hidden_states: where to keep these outputs.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        temperature: float = 1.0,
        max_tokens: int = 2048,
        frozen: FrozenLayers | None = None,
        hidden_states: HiddenStates | None = None,
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._frozen = frozen if hidden_states is not None else None
        self._hidden_states = hidden_states
        self._tree = TokenTree() if hidden_states is None else hidden_states.tree
        self._cache = Cache(model.device)
        self._live: list[Context] = []
        self.computed_tokens = 0

    @property
    def layers(self) -> int:
        """How many of the model's layers have attended to keys of the cache."""
        return self._cache.layers

    @torch.inference_mode()
    def run(self, requests: Sequence[Extension]) -> list[Drawn]:
        """Append each request's tokens to its context, decide, and append the decision."""
        new = [request.context for request in requests if request.context.row < 0]
        for context in new:  # all at once, so that the cache grows once
            context.row = self._cache.take()
        for request in requests:
            request.context.tokens.extend(request.tokens)
        for context in new:
            self._begin(context)
        decisions: dict[int, Drawn] = {}
        scores: dict[int, list[torch.Tensor]] = {}
        work = Batch(self._tree)
        for index, request in enumerate(requests):
            *others, last = self._portions(request.branches)
            for branches in [*others, last]:
                work.add(index, request, branches, branches is last)
                if work.size >= self._max_tokens:
                    self._run(work, scores, decisions)
                    work = Batch(self._tree)
        if work.size:
            self._run(work, scores, decisions)
        return [decisions[index] for index in range(len(requests))]

    def rewind(self, context: Context, length: int) -> None:
        """Drop the context's tokens after the first `length`; the others keep their keys."""
        del context.tokens[length:]
        if context.stored > length:
            context.stored = length
            context.node = self._tree.walk(ROOT, context.tokens)

    def finish(self, context: Context) -> None:
        """Free the context's row. If it goes on nevertheless, its tokens are computed again."""
        if context.row >= 0:
            self._cache.give(context.row)
            self._live = [other for other in self._live if other is not context]
            context.row, context.stored, context.node = -1, 0, ROOT

    def _begin(self, context: Context) -> None:
        """Fill the context's row with another context's keys of the same beginning."""
        best, shared = None, 0
        for other in self._live:
            length = common_prefix_length(other.tokens[: other.stored], context.tokens)
            if length > shared:
                best, shared = other, length
        self._live.append(context)
        shared = min(shared, len(context.tokens) - 1)  # the last token's output is what is asked
        if best is not None and shared >= WORTH_COPYING:
            self._cache.copy(best.row, context.row, shared)
            context.stored = shared
            context.node = self._tree.walk(ROOT, context.tokens[:shared])

    def _portions(self, branches: Sequence[Sequence[int]]) -> list[Sequence[Sequence[int]]]:
        """Return the candidates, in as many portions as they need forwards."""
        portions: list[list[Sequence[int]]] = [[]]
        size = 0
        for branch in branches:
            if portions[-1] and size + len(branch) > self._max_tokens:
                portions.append([])
                size = 0
            portions[-1].append(branch)
            size += len(branch)
        return list(portions)

    def _run(
        self, work: Batch, scores: dict[int, list[torch.Tensor]], decisions: dict[int, Drawn]
    ) -> None:
        device = self._model.device
        self._cache.reserve(work.longest)
        layout = Cached(self._cache, work.step, work.plan, work.rows, work.writes, device)
        self.computed_tokens += work.size
        keep, place = numpy.unique(work.asked(), return_inverse=True)
        with ExitStack() as stack:
            recorded = self._frozen and stack.enter_context(self._frozen.recorded())
            logits = forward(
                self._model,
                torch.tensor(work.tokens(), device=device),
                torch.from_numpy(work.positions()).to(device),
                torch.from_numpy(keep).to(device),
                layout,
            )
        if self._hidden_states is not None and recorded:
            self._hidden_states.put(work.nodes(), recorded[0])
        self._sample(work, logits, place, decisions)
        self._choose(work, logits, place, scores, decisions, layout)
        for item in work.items:
            item.settle(self._tree)

    def _sample(
        self,
        work: Batch,
        logits: torch.Tensor,
        place: numpy.ndarray,
        decisions: dict[int, Drawn],
    ) -> None:
        items = [item for item in work.items if not item.branches]
        if items:
            at = torch.from_numpy(place[: len(items)]).to(logits.device)
            whole = len(at) == len(logits) and bool((at == torch.arange(len(at)).to(at)).all())
            made = sample(
                logits if whole else logits.index_select(0, at),
                self._temperature,
                [item.request.draw for item in items],
            )
            for item, decision in zip(items, made, strict=True):
                decisions[item.index] = decision
                item.chosen = [decision.choice]

    def _choose(
        self,
        work: Batch,
        logits: torch.Tensor,
        place: numpy.ndarray,
        scores: dict[int, list[torch.Tensor]],
        decisions: dict[int, Drawn],
        layout: Cached,
    ) -> None:
        items = [item for item in work.items if item.branches]
        if not items:
            return
        moves: list[tuple[int, int, int]] = []
        tokens = [token for item in items for branch in item.branches for token in branch]
        values = token_logprobs(logits, place[-len(tokens) :].tolist(), tokens)
        lengths = [len(branch) for item in items for branch in item.branches]
        means = torch.stack([part.mean() for part in values.split(lengths)])
        at = 0
        for item in items:
            made = scores.setdefault(item.index, [])
            made.append(means[at : at + len(item.branches)])
            at += len(item.branches)
            if not item.last:
                continue
            request = item.request
            decision = choose(torch.cat(made), self._temperature, request.draw)
            decisions[item.index] = decision
            item.chosen = list(request.branches[decision.choice])
            if len(made) == 1:  # else its keys may be of an earlier forward
                assert item.placement is not None
                kept = item.placement.branch_rows[decision.choice]
                item.kept = len(kept)
                for position, source in enumerate(kept, start=len(request.context.tokens)):
                    moves.append((source, request.context.row, position))
        if moves:
            self._cache.reserve(1 + max(position for _, _, position in moves))
            layout.commit(moves)
