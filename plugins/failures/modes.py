"""The failure modes that come with contrail. Turns are counted from 1."""

from __future__ import annotations

from collections.abc import Callable

import contrail
from contrail import Episode, FailureContext, FailureRule, Turn

REPEATS = 3
"""How often in a row the same action makes a repetition."""
IDLE = 3
"""How many idle turns at the end make an episode that has been given up."""
LONGEST_CYCLE = 6


def _said(turn: Turn) -> str:
    return turn.text if turn.action is None else turn.action


def repeats(episode: Episode, context: FailureContext) -> int | None:
    """Return the turn of the third equal action in a row, after the first two were answered
    alike."""
    turns = episode.turns
    for end in range(REPEATS, len(turns) + 1):
        row = turns[end - REPEATS : end]
        same = len({_said(turn) for turn in row}) == 1
        # The first of them may have done something; its answer stands before the second.
        if same and len({turn.observation for turn in row[1:]}) == 1:
            return end
    return None


def loops(episode: Episode, context: FailureContext) -> int | None:
    """Return the turn that completes the second pass of a cycle of observations and actions."""
    steps = [(turn.observation, _said(turn)) for turn in episode.turns]
    for end in range(4, len(steps) + 1):
        for length in range(2, min(LONGEST_CYCLE, end // 2) + 1):
            cycle = steps[end - length : end]
            if cycle == steps[end - 2 * length : end - length] and len(set(cycle)) > 1:
                return end
    return None


def invalid(episode: Episode, context: FailureContext) -> int | None:
    """Return the first turn without an action, or with one that the environment refused."""
    return next((n for n, turn in enumerate(episode.turns, 1) if not turn.valid), None)


def gives_up(episode: Episode, context: FailureContext) -> int | None:
    """Return the turn, in the first half of those allowed, in which the agent ends the episode
    itself, or from which on it only idles, for three turns at least."""
    half = context.max_turns / 2
    if _finished(episode, context) and len(episode.turns) <= half:
        return len(episode.turns)
    active = [n for n, turn in enumerate(episode.turns, 1) if not context.idles(turn)]
    first = (active[-1] if active else 0) + 1
    return first if first <= half and len(episode.turns) - first + 1 >= IDLE else None


def _finished(episode: Episode, context: FailureContext) -> bool:
    """Whether the agent's last action says that it is done."""
    ended = episode.ended == "terminated" and bool(episode.turns)
    return ended and context.finishes(episode.turns[-1])


def unchecked(episode: Episode, context: FailureContext) -> int | None:
    """Return the turn in which the agent wrongly says that it is done, and has checked nothing."""
    if not context.verifying or not _finished(episode, context):
        return None
    # A check that was refused shows nothing, and what is written after the end is not carried out.
    checked = any(turn.valid and context.verifies(turn) for turn in episode.turns[:-1])
    return None if checked else len(episode.turns)


def out_of_turns(episode: Episode, context: FailureContext) -> int | None:
    """Return the last turn of an episode that reached the limit, contrail's or the
    environment's."""
    return len(episode.turns) if episode.ended in ("max_turns", "truncated") else None


def out_of_context(episode: Episode, context: FailureContext) -> int | None:
    """Return the last turn of an episode whose next one had no room in the context."""
    return len(episode.turns) if episode.ended == "max_context" else None


def cut_off(episode: Episode, context: FailureContext) -> int | None:
    """Return the first turn whose text reached the largest number of tokens before its end."""
    return next((n for n, turn in enumerate(episode.turns, 1) if turn.cut_off), None)


RULES = (
    FailureRule(
        "repeats", repeats, "takes the same action three times in a row, and is answered alike"
    ),
    FailureRule("loops", loops, "goes twice through a cycle of observations and actions"),
    FailureRule("invalid", invalid, "writes no action, or one that is refused"),
    FailureRule("gives_up", gives_up, "ends or idles in the first half of its turns"),
    FailureRule("unchecked", unchecked, "says that it is done without having checked anything"),
    FailureRule("out_of_turns", out_of_turns, "comes to the limit of turns"),
    FailureRule("out_of_context", out_of_context, "has no room in the context for another turn"),
    FailureRule("cut_off", cut_off, "writes up to the largest number of tokens"),
)


@contrail.hookimpl
def contrail_failures(register: Callable[[FailureRule], None]) -> None:
    for rule in RULES:
        register(rule)
