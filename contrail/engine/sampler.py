"""contrail's samplers: the engine, within a bound on its memory, and the plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from contrail import sampler
from contrail.engine.admission import CacheAdmission, cache_tokens
from contrail.engine.batch import Context, Extension
from contrail.engine.decide import Drawn, check_finite
from contrail.engine.engine import Engine
from contrail.engine.plain import PlainSampler
from contrail.model.policy import Policy
from contrail.sampler import Choose, Decision, Request, Sampler


@contextmanager
def open_sampler(policy: Policy, temperature: float) -> Iterator[Sampler]:
    """The engine, or the plain sampler for a model for which the engine is not right."""
    with policy.acting() as model:
        if policy.fast:
            engine = Engine(model, temperature, frozen=policy.frozen, hidden_states=policy.kept)
            admission = CacheAdmission(cache_tokens(model, policy.cache_gb))
            yield EngineSampler(engine, admission, policy.chat.text)
        else:
            yield PlainSampler(model, temperature, policy.chat.text)


@dataclass
class _Pending:
    """A request, and the tokens written so far."""

    request: Request
    written: Decision = field(default_factory=lambda: Decision([], [], []))

    @property
    def coming(self) -> Sequence[int]:
        """Return the part of the prompt that the next forward appends."""
        return () if self.written.written else self.request.prompt


class EngineSampler:
    """See `contrail.sampler.Sampler`. A step is one forward: all the episodes that may take part.

    Args:
        engine: runs the model.
        admission: divides its memory.
        text: decodes tokens.
    """

    def __init__(
        self, engine: Engine, admission: CacheAdmission, text: Callable[[Sequence[int]], str]
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._text = text
        self._contexts: dict[Context, _Pending | None] = {}  # the oldest first
        self._forgotten: list[Context] = []

    def begin(self, environment: str) -> Context:
        """See `Sampler`."""
        context = Context(environment)
        self._contexts[context] = None
        return context

    def submit(self, request: Request) -> None:
        """See `Sampler`."""
        assert isinstance(request.context, Context)
        self._contexts[request.context] = _Pending(request)

    def ready(self) -> bool:
        """See `Sampler`. Here a forgotten context's expected memory becomes free for others."""
        for context in self._forgotten:
            del self._contexts[context]
        self._forgotten.clear()
        return bool(self._admitted())

    def step(self) -> Sequence[tuple[Request, Decision]] | None:
        """See `Sampler`."""
        admitted = self._admitted()
        if not admitted:
            return None
        drawn = self._engine.run([_extension(pending) for pending in admitted])
        check_finite(drawn)
        complete = []
        for pending, one in zip(admitted, drawn, strict=True):
            if self._take(pending, one):
                self._contexts[_own(pending.request)] = None
                complete.append((pending.request, pending.written))
        return complete

    def rewind(self, context: sampler.Context, length: int) -> None:
        """See `Sampler`. The keys of the tokens that stay are not computed again."""
        assert isinstance(context, Context)
        self._engine.rewind(context, length)

    def forget(self, context: sampler.Context) -> None:
        """See `Sampler`."""
        assert isinstance(context, Context)
        self._engine.finish(context)
        self._contexts[context] = None
        self._forgotten.append(context)

    def _admitted(self) -> list[_Pending]:
        """Return the requests whose contexts may hold keys in the next forward."""
        coming = {
            context: len(context.tokens) + (len(pending.coming) if pending else 0)
            for context, pending in self._contexts.items()
        }
        admitted = self._admission.admit(
            [context.environment for context in coming],
            list(coming.values()),
            [context.row >= 0 for context in coming],
        )
        chosen = []
        for (context, pending), may in zip(self._contexts.items(), admitted, strict=True):
            if not may:
                self._engine.finish(context)
            elif pending is not None:
                chosen.append(pending)
        return chosen

    def _take(self, pending: _Pending, drawn: Drawn) -> bool:
        """Add a drawn token or choice; return whether the request is complete."""
        request, decision = pending.request, pending.written
        decision.logprobs.append(drawn.logprob)
        decision.entropies.append(drawn.entropy)
        if isinstance(request, Choose):
            decision.choice = drawn.choice
            decision.choice_logprobs = drawn.choice_logprobs
            decision.written.extend(request.candidates[drawn.choice])
            return True
        decision.written.append(drawn.choice)
        return sampler.is_complete(request, decision.written, self._text)


def _own(request: Request) -> Context:
    assert isinstance(request.context, Context)
    return request.context


def _extension(pending: _Pending) -> Extension:
    request = pending.request
    draw = None if request.rng is None else request.rng.random()
    branches = request.candidates if isinstance(request, Choose) else ()
    return Extension(_own(request), pending.coming, branches, draw)
