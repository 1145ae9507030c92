"""Failure modes: transparent rules over failed episodes, each traceable to a turn.

A plugin registers a rule with the hook `contrail_failures`. result.json counts the rules by cell of
R, the log of episodes names the turn of each, and the tables on the terminal show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contrail.environment import Environment
from contrail.episode import Episode, Turn
from contrail.errors import PluginError, boundary, describe_error
from contrail.shift.alias import Renaming
from contrail.shift.shifted import Shift, renaming
from contrail.values import as_whole


@dataclass(frozen=True)
class FailureContext:
    """What a rule may know of the environment that was played.

    Attributes:
        max_turns: of an episode.
        finishing: regular expressions of whole actions, see `Environment.finishing`.
        verifying: the same of `Environment.verifying`.
        idle: the same of `Environment.idle`.
        renaming: of the actions, which these expressions do not know.
    """

    max_turns: int = Environment.max_turns
    finishing: Sequence[str] = ()
    verifying: Sequence[str] = ()
    idle: Sequence[str] = ()
    renaming: Renaming | None = None

    @classmethod
    def of(
        cls,
        environment: type[Environment],
        max_turns: int | None = None,
        shift: Shift | None = None,
    ) -> FailureContext:
        """Return the context of an environment's class, with the limit of its configuration and its
        interface shift."""
        return cls(
            max_turns or environment.max_turns,
            environment.finishing,
            environment.verifying,
            environment.idle,
            renaming(environment, shift),
        )

    def finishes(self, turn: Turn) -> bool:
        """Return whether an action says that the agent is done."""
        return self._matches(turn, self.finishing)

    def verifies(self, turn: Turn) -> bool:
        """Return whether an action checks something."""
        return self._matches(turn, self.verifying)

    def idles(self, turn: Turn) -> bool:
        """Return whether a turn does nothing: an idle action, or no text at all."""
        return not (turn.text or turn.action or "").strip() or self._matches(turn, self.idle)

    def _matches(self, turn: Turn, patterns: Iterable[str]) -> bool:
        """Return whether an action is, as a whole and in any case, one of the patterns."""
        action = (turn.action or "").strip()
        if self.renaming is not None:
            action = self.renaming.restore(action) or ""
        flags = re.IGNORECASE | re.DOTALL
        return any(re.fullmatch(pattern, action, flags) is not None for pattern in patterns)


@dataclass(frozen=True)
class FailureRule:
    """A way in which an episode fails, and how to see it.

    Attributes:
        name: its key in files: lower-case letters, digits and underscores.
        shows: takes a failed episode and a `FailureContext`; returns the turn at which it shows,
            counted from 1 (0: before the first turn), or None.
        description: what it is, in a few words.
        plugin: who registered it; set by the registry.
    """

    name: str
    shows: Callable[[Episode, FailureContext], int | None]
    description: str = ""
    plugin: str = ""

    def check(self) -> None:
        """Refuse a rule that could not be kept or called.

        Raises:
            PluginError: its name or function makes no sense.
        """
        who = f"plugin {self.plugin!r}: the failure rule {self.name!r}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise PluginError(
                f"{who} needs another name: lower-case letters, digits and underscores."
            )
        if not callable(self.shows):
            raise PluginError(f"{who}: `shows` must be a function of an episode and its context.")


class Diagnosis:
    """Finds the failure modes of episodes.

    Args:
        rules: the registered ones.
        contexts: of the environments, by label; others have the default.
    """

    def __init__(
        self, rules: Sequence[FailureRule], contexts: Mapping[str, FailureContext]
    ) -> None:
        self._rules = rules
        self._contexts = contexts

    def __call__(self, episodes: Iterable[Episode]) -> None:
        """Set `Episode.failures` of all failed episodes; a fault of the environment is none.

        Raises:
            PluginError: a rule raised, or returned no turn of the episode.
        """
        for episode in episodes:
            if episode.success or episode.fault is not None:
                continue
            context = self._contexts.get(episode.environment, FailureContext())
            if episode.max_turns is not None:  # of the instance, which may have set its own
                context = replace(context, max_turns=episode.max_turns)
            shown = {rule.name: _turn(rule, episode, context) for rule in self._rules}
            episode.failures = {name: turn for name, turn in shown.items() if turn is not None}


def count(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the numbers of `episodes`, without faults, of those that `failed`, and by failure mode
    of those that show it (`modes`)."""
    played = [item for item in episodes if item.fault is None]
    failed = [item for item in played if not item.success]
    modes: dict[str, int] = {}
    for episode in failed:
        for name in episode.failures:
            modes[name] = modes.get(name, 0) + 1
    return {"episodes": len(played), "failed": len(failed), "modes": modes}


def _turn(rule: FailureRule, episode: Episode, context: FailureContext) -> int | None:
    def blame(error: BaseException) -> PluginError:
        return PluginError(
            f"failure rule {rule.name!r} (plugin {rule.plugin!r}) of the task "
            f"{episode.task.id!r} of {episode.environment!r}: {describe_error(error)}"
        )

    with boundary(blame):
        turn = rule.shows(episode, context)
        if turn is None:
            return None
        turn = as_whole(turn, "the turn at which it shows")
        if turn not in range(len(episode.turns) + 1):
            raise ValueError(f"it shows at turn {turn} of {len(episode.turns)}")
        return turn
