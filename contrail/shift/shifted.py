"""An interface shift: the same tasks, seen and answered in another way.

`shift` among an environment's keys in stream.yaml wraps its instances, wherever they live. The
episodes of a task stay the same game: the wrapper changes only what is shown, and how actions are
written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from contrail.actions import read_action
from contrail.environment import Environment, Observation, Step, Task
from contrail.errors import ConfigError
from contrail.seeding import generator
from contrail.shift.alias import Renaming

NO_ACTION = "(no action of this game)"
"""Stands for an answer that is no action under its other name, such as one under its old name."""

DISTRACTIONS = (
    "A clock ticks somewhere.",
    "It rained last night.",
    "The wind has turned to the north.",
    "Someone hums a tune nearby.",
    "A bus drives by outside.",
    "The air smells of rain.",
    "Far away a dog barks twice.",
    "The newspaper came late today.",
    "A cloud passes over the sun.",
    "The neighbours are on holiday.",
    "Two birds quarrel on the roof.",
    "It is a Tuesday.",
    "A train whistles in the distance.",
    "The radio plays an old song.",
    "There will be a full moon tonight.",
    "A child laughs in the street.",
    "The bakery around the corner is closed.",
    "A leaf drifts past.",
    "Last summer was unusually dry.",
    "Church bells ring the quarter hour.",
    "An aeroplane leaves a white line in the sky.",
    "Somebody has painted the fence green.",
    "The football match ended in a draw.",
    "A fly settles on the wall.",
)
"""Sentences that have nothing to do with any task."""
NOTHING_NEW = "Nothing new."
"""A terse observation that says no more than the one before."""
PARTS = re.compile(r"\n+|(?<=[.!?]) +")
"""What lies between the lines and sentences of an observation."""


@dataclass(frozen=True)
class Shift:
    """The keys of `shift` in stream.yaml."""

    actions: Literal["every", "first", "never"] = "every"
    """The turns in which the model may be shown the admissible actions."""
    alias: int | None = field(default=None, metadata={"min": 0, "max": 2**32 - 1})
    """The seed of a renaming of the actions: other verbs, in another layout."""
    distract: int = field(default=0, metadata={"min": 0, "max": len(DISTRACTIONS)})
    """The number of irrelevant sentences that are added to each observation."""
    observe: Literal["terse", "full"] | None = None
    """What observations after the first one show: "terse", only the lines and sentences that the
    one before had not; "full", the first observation too; None, what the environment writes."""


def check_alias(shift: Shift | None, name: str, forms: Sequence[str]) -> None:
    """Refuse to rename the actions of an environment that does not say how they are written.

    Raises:
        ConfigError: there is an alias, and there are no forms.
    """
    if shift is not None and shift.alias is not None and not forms:
        raise ConfigError(
            f"the actions of {name!r} cannot be renamed: the environment does not say how they are "
            "written. Leave out `alias`, or set `forms` in its class."
        )


class Shifted(Environment):
    """An environment behind a shifted interface.

    Args:
        environment: that plays.
        shift: what differs.
    """

    def __init__(self, environment: Environment, shift: Shift) -> None:
        super().__init__(environment.config)
        self._inner = environment
        self._shift = shift
        self._renaming = renaming(environment, shift)
        self._originals: dict[str, str] = {}  # of the actions listed last
        self._task: Task | None = None
        self._turn = 0
        self._first = self._before = ""  # texts of the environment's own observations

    @property
    def system_prompt(self) -> str:  # type: ignore[override]
        """With the new names of the actions, and what they mean."""
        prompt = self._inner.system_prompt
        return prompt if self._renaming is None else self._renaming.in_prompt(prompt)

    @property
    def max_turns(self) -> int:  # type: ignore[override]
        """Those of the environment."""
        return self._inner.max_turns

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """Those of the environment."""
        return self._inner.notes

    @property
    def about_data(self) -> str:  # type: ignore[override]
        """That of the environment."""
        return self._inner.about_data

    def tasks(self, split: str) -> list[Task]:
        return self._inner.tasks(split)

    def reset(self, task: Task) -> Observation:
        self._task, self._turn = task, 0
        return self._shown(self._inner.reset(task))

    def step(self, action: str) -> Step:
        said = self._original(action)
        step = self._inner.step(NO_ACTION if said is None else said)
        self._turn += 1
        valid = step.valid and said is not None
        return replace(step, observation=self._shown(step.observation), valid=valid)

    def game(self, task: Task) -> str | None:
        return self._inner.game(task)

    def finish(self) -> Step | None:
        return self._inner.finish()

    def expert(self, task: Task) -> Sequence[str] | None:
        actions = self._inner.expert(task)
        if actions is None or self._renaming is None:
            return actions
        return [self._renaming.rename(action) or action for action in actions]

    def close(self) -> None:
        self._inner.close()

    def _original(self, action: str) -> str | None:
        """Return the environment's own words for an action; None if it is none."""
        if self._renaming is None:
            return action
        said = read_action(action, self._originals)
        return self._originals.get(said) or self._renaming.restore(said)

    def _shown(self, seen: Observation) -> Observation:
        text, actions = self._observed(seen.text), seen.actions
        if self._renaming is not None:
            text = self._renaming.in_text(text)
            # An action without a form, such as the number of an answer, keeps its name.
            names = [self._renaming.rename(action) or action for action in actions or ()]
            self._originals = dict(zip(names, actions or (), strict=True))
            actions = None if actions is None else names
        shown = self._shift.actions == "every" or (
            self._shift.actions == "first" and self._turn == 0
        )
        return Observation(
            "\n".join([text, *self._distractions()]), actions, seen.show_actions and shown
        )

    def _observed(self, text: str) -> str:
        """Return what is shown of an observation's text."""
        before, self._before = self._before, text
        if self._turn == 0:
            self._first = text
            return text
        if self._shift.observe == "full":
            return f"{self._first}\n{text}"
        if self._shift.observe == "terse":
            known = set(PARTS.split(before))
            new = [part for part in PARTS.split(text) if part not in known]
            return " ".join(new) or NOTHING_NEW
        return text

    def _distractions(self) -> list[str]:
        """Return the irrelevant sentences of this turn: they depend on the task and the turn."""
        if not self._shift.distract or self._task is None:
            return []
        rng = generator(0, "distract", self._task.id, self._task.seed, self._turn)
        chosen = rng.permutation(len(DISTRACTIONS))[: self._shift.distract]
        return [DISTRACTIONS[index] for index in chosen]


def renaming(environment: Environment | type[Environment], shift: Shift | None) -> Renaming | None:
    """Return the renaming of an environment's actions, if the shift asks for one.

    Raises:
        ConfigError: the environment does not say how its actions are written.
    """
    cls: Any = environment if isinstance(environment, type) else type(environment)
    check_alias(shift, cls.__name__, environment.forms)
    if shift is None or shift.alias is None:
        return None
    return Renaming(environment.forms, shift.alias, environment.mentions)
