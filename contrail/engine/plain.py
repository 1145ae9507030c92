"""A sampler for any model: each decision is read off forwards over whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from contrail.engine.decide import check_finite, choose, sample
from contrail.model.plain import Query, answer, picked, portions
from contrail.sampler import Choose, Context, Decision, Request, is_complete


class PlainSampler:
    """See `contrail.sampler.Sampler`. A step decides once for every request.

    Args:
        model: any causal language model.
        temperature: decisions are drawn from softmax(scores / temperature).
        text: decodes tokens.
    """

    def __init__(
        self, model: PreTrainedModel, temperature: float, text: Callable[[Sequence[int]], str]
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._text = text
        self._pending: dict[Context, tuple[Request, Decision]] = {}

    def begin(self, environment: str) -> Context:
        """See `Sampler`."""
        return Context(environment)

    def submit(self, request: Request) -> None:
        """See `Sampler`."""
        request.context.tokens.extend(request.prompt)
        self._pending[request.context] = (request, Decision([], [], []))

    def ready(self) -> bool:
        """See `Sampler`."""
        return bool(self._pending)

    @torch.inference_mode()
    def step(self) -> Sequence[tuple[Request, Decision]] | None:
        """See `Sampler`."""
        if not self._pending:
            return None
        pending = list(self._pending.values())
        asked = [_queries(request) for request, _ in pending]
        logits = self._logits([query for queries in asked for query in queries])
        complete = []
        for (request, decision), queries in zip(pending, asked, strict=True):
            own = [next(logits) for _ in queries]
            if self._decide(request, decision, own):
                del self._pending[request.context]
                complete.append((request, decision))
        return complete

    def rewind(self, context: Context, length: int) -> None:
        """See `Sampler`."""
        del context.tokens[length:]

    def forget(self, context: Context) -> None:
        """See `Sampler`."""
        self._pending.pop(context, None)

    def _logits(self, queries: Sequence[Query]) -> Iterator[torch.Tensor]:
        for portion in portions(queries):
            yield from answer(self._model, portion)

    def _decide(self, request: Request, decision: Decision, logits: Sequence[torch.Tensor]) -> bool:
        """Draw once and append the result; whether the request is complete."""
        draw = None if request.rng is None else request.rng.random()
        if isinstance(request, Choose):
            candidates = zip(logits, request.candidates, strict=True)
            means = [picked(rows.log_softmax(-1), tokens).mean() for rows, tokens in candidates]
            drawn = choose(torch.stack(means).cpu(), self._temperature, draw)
            decision.choice = drawn.choice
            decision.choice_logprobs = drawn.choice_logprobs
            new = list(request.candidates[drawn.choice])
        else:
            [drawn] = sample(logits[0], self._temperature, [draw])
            new = [drawn.choice]
        check_finite([drawn])
        decision.written.extend(new)
        decision.logprobs.append(drawn.logprob)
        decision.entropies.append(drawn.entropy)
        request.context.tokens.extend(new)
        return isinstance(request, Choose) or is_complete(request, decision.written, self._text)


def _queries(request: Request) -> list[Query]:
    tokens = request.context.tokens
    if isinstance(request, Choose):
        return [Query.of(tokens, candidate) for candidate in request.candidates]
    return [Query(tuple(tokens), 1)]
