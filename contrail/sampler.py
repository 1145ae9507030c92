"""The seam between a rollout and the backend that runs the model for it.

A sampler completes requests: it writes free text, or chooses among candidates. The rollout knows
neither how, nor which requests share a forward. `contrail.engine` holds contrail's own samplers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy

if TYPE_CHECKING:
    from contrail.model.policy import Policy


@dataclass(eq=False)
class Context:
    """What the model sees of one episode: its tokens. A sampler makes it, and appends to it.

    `environment`: the episode's column of R; episodes of one environment are of similar length.
    """

    environment: str = ""
    tokens: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Generate:
    """Asks for free text after a context and a prompt.

    Text ends with a token of `ends`, after one of the strings `stop`, or after `max_new_tokens`.
    `rng`: draws the tokens; None takes the likeliest.
    """

    context: Context
    prompt: Sequence[int]
    max_new_tokens: int
    ends: Collection[int]
    stop: Sequence[str]
    rng: numpy.random.Generator | None


@dataclass(eq=False)
class Choose:
    """Asks for one of several candidates, each a sequence of tokens, after a context and a prompt.

    `rng`: draws the candidate; None takes the likeliest.
    """

    context: Context
    prompt: Sequence[int]
    candidates: Sequence[Sequence[int]]
    rng: numpy.random.Generator | None


Request = Generate | Choose


@dataclass
class Decision:
    """The model's answer to a request."""

    written: list[int]
    """The token ids of the answer."""
    logprobs: list[float]
    """Under the distribution that was sampled: one per token of free text, or one for a choice,
    normalised over the candidates."""
    entropies: list[float]
    """The entropies of that distribution, one per log-probability."""
    choice: int | None = None
    """The index of the chosen candidate; None for free text."""
    choice_logprobs: list[float] | None = None
    """The log-probabilities of all candidates; None for free text, or if they are not known."""


class Sampler(Protocol):
    """Runs the model for many episodes at once."""

    def begin(self, environment: str) -> Context:
        """Return a new, empty context. Contexts that began earlier go first where memory is
        short."""
        ...

    def submit(self, request: Request) -> None:
        """Take a request; a context has one at a time."""
        ...

    def ready(self) -> bool:
        """Return whether `step` would compute anything now; ask before each step."""
        ...

    def step(self) -> Sequence[tuple[Request, Decision]] | None:
        """Run the model for a while, and return the requests that are complete now.

        The prompt and the answer have been appended to the context. None: nothing was computed,
        because there is no request, or no memory for one before others are forgotten.
        """
        ...

    def rewind(self, context: Context, length: int) -> None:
        """Drop the tokens of a context after the first `length`; it has no request now."""
        ...

    def forget(self, context: Context) -> None:
        """Free the memory of a context that is not needed any more."""
        ...


OpenSampler = Callable[["Policy", float], AbstractContextManager[Sampler]]
"""Opens a sampler of a policy as it is now, at a temperature."""


def is_complete(request: Generate, written: Sequence[int], text: Callable[..., str]) -> bool:
    """Return whether free text ends here; `text` decodes tokens."""
    return len(written) >= request.max_new_tokens or has_end(request, written, text)


def has_end(request: Generate, written: Sequence[int], text: Callable[..., str]) -> bool:
    """Return whether the model has ended free text itself; otherwise it was cut off."""
    if written[-1] in request.ends:
        return True
    return bool(request.stop) and any(stop in text(written) for stop in request.stop)
