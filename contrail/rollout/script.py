"""Demonstrations: episodes whose decisions are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from contrail.errors import InvalidAction
from contrail.rollout.interface import Interface
from contrail.sampler import Choose, Context, Decision, Request, Sampler, has_end

if TYPE_CHECKING:
    from contrail.model.policy import Policy

EXPERT: Final = "expert"


@dataclass(frozen=True)
class Move:
    """A decision of a demonstration: the action, and the words in which it was taken, if known."""

    action: str
    words: str | None = None

    def text(self, interface: Interface) -> str:
        """Return the answer that takes the action: the words, if the adapter reads it in them."""
        if self.words is not None and _read(interface, self.words) == self.action:
            return self.words
        return interface.answer(self.action)


Script = Sequence[Move] | Literal["expert"]
"""The moves of a demonstration, or `EXPERT`: those of the environment's own expert."""


Unwritten = Literal["not_allowed", "too_long"]
"""How a demonstration ends whose next answer the model could not have written: it is not among the
candidates, or goes on after its end; or it is longer than the adapter's `max_new_tokens`."""


def moves_of(script: Iterable[Move | str]) -> list[Move]:
    """Return the moves; actions alone are moves without words."""
    return [move if isinstance(move, Move) else Move(move) for move in script]


def scripted(
    request: Request, answer: Sequence[int], text: Callable[[Sequence[int]], str]
) -> Decision | Unwritten:
    """Return the decision for an answer, or why the model could not have written it.

    Args:
        request: that it answers.
        answer: in tokens, with the end of a turn. Free text ends where the model's would have.
        text: decodes tokens, without special ones.
    """
    if isinstance(request, Choose):
        candidates = [list(candidate) for candidate in request.candidates]
        if list(answer) not in candidates:
            return "not_allowed"
        choice = candidates.index(list(answer))
        return Decision(list(answer), [0.0], [0.0], choice)
    count = len(answer)
    if request.stop:
        ends = (n for n in range(1, count) if has_end(request, answer[:n], text))
        count = next(ends, count)
    if count > request.max_new_tokens:
        return "too_long"
    left = text(answer[count:])
    for stop in request.stop:
        left = left.partition(stop)[0]
    if left.strip():
        return "not_allowed"
    return Decision(list(answer[:count]), [0.0] * count, [0.0] * count)


class _NoSampler:
    """See `contrail.sampler.Sampler`; it takes no requests."""

    def begin(self, environment: str) -> Context:
        return Context(environment)

    def submit(self, request: Request) -> None:
        raise AssertionError("a demonstration asks the model for nothing")

    def ready(self) -> bool:
        return False

    def step(self) -> None:
        return None

    def rewind(self, context: Context, length: int) -> None:
        del context.tokens[length:]

    def forget(self, context: Context) -> None:
        pass


@contextmanager
def no_sampler(policy: Policy, temperature: float) -> Iterator[Sampler]:
    """For demonstrations alone: nothing runs the model."""
    yield _NoSampler()


def _read(interface: Interface, text: str) -> str | None:
    try:
        return interface.parse(text)
    except InvalidAction:
        return None
