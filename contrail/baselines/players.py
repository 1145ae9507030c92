"""Who plays without a model: each turn a choice among the answers that the adapter allows."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy

RANDOM = "random"
WORDS = "words"
CONSTANT = "constant"
EXPERT = "expert"

_WORD = re.compile(r"[^\W_]+")
_GOAL = re.compile(
    r"\b(?:goal|task|mission|objective|instruction|question)s?\b(.*?)(?:[.?!](?:\s|$)|\n|$)",
    re.IGNORECASE | re.DOTALL,
)


class NoChoice(Exception):
    """The player has no choices, so its score is undefined."""


@dataclass(frozen=True)
class Moment:
    """What a player knows when it is to act.

    Attributes:
        turn: counted from 0.
        first: the text of the first observation of the episode.
        choices: the actions that are listed now, or the adapter's own candidates; None where there
            is no list.
        script: the actions of the environment's expert, where the player needs them.
    """

    turn: int
    first: str
    choices: Sequence[str] | None
    script: Sequence[str] = ()


class Player(ABC):
    """A policy without a model. One instance serves all episodes of an environment."""

    name: ClassVar[str]
    """Of the baseline."""

    scripted: ClassVar[bool] = False
    """Whether it replays the environment's expert."""

    @abstractmethod
    def act(self, moment: Moment, rng: numpy.random.Generator) -> str | None:
        """Return one of the choices, or None to give up.

        Args:
            moment: the player's view of the episode.
            rng: the source of all the player's randomness in the episode.

        Raises:
            NoChoice: the player needs a list, and there is none.
        """


class Random(Player):
    """Chooses uniformly from the list in each turn; an action listed twice is twice as probable."""

    name = RANDOM

    def act(self, moment: Moment, rng: numpy.random.Generator) -> str | None:
        return _uniform(_listed(moment), rng)


@dataclass(frozen=True)
class Constant(Player):
    """One action whenever it is listed, otherwise uniform over the list."""

    action: str
    name = CONSTANT

    def act(self, moment: Moment, rng: numpy.random.Generator) -> str | None:
        choices = _listed(moment)
        return self.action if self.action in choices else _uniform(choices, rng)


class Words(Player):
    """The listed action that shares most words with the goal; ties are broken uniformly."""

    name = WORDS

    def act(self, moment: Moment, rng: numpy.random.Generator) -> str | None:
        choices = _listed(moment)
        wanted = words(goal(moment.first))
        shared = [len(words(choice) & wanted) for choice in choices]
        most = max(shared)
        best = [choice for choice, count in zip(choices, shared, strict=True) if count == most]
        return _uniform(best, rng)


class Expert(Player):
    """Replays the environment's expert; where the script ends, the episode is given up."""

    name = EXPERT
    scripted = True

    def act(self, moment: Moment, rng: numpy.random.Generator) -> str | None:
        return moment.script[moment.turn] if moment.turn < len(moment.script) else None


def words(text: str) -> frozenset[str]:
    """Return the words and numbers of a text, in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def goal(text: str) -> str:
    """Return the goal in a first observation.

    It is the rest of the first sentence that mentions a goal, task, mission, objective, instruction
    or question; the whole text if there is no such sentence.
    """
    found = _GOAL.search(text)
    return found[1] if found and words(found[1]) else text


def _listed(moment: Moment) -> Sequence[str]:
    if moment.choices is None:
        raise NoChoice("the environment lists no actions")
    return moment.choices


def _uniform(choices: Sequence[str], rng: numpy.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
