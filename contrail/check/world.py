"""The environment of the small runs in which `contrail check` tries other plugins.

It is a plugin, named by the stream of those runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from contrail.environment import Environment, Observation, Step, Task
from contrail.hookspecs import hookimpl

NAME = "crossroads"
PLACES = ("gate", "well", "mill", "barn", "bridge", "tower", "forge", "ford")
WEATHERS = ("rain", "snow", "fog", "sun", "hail")
WAYS = ("go left", "go right", "go back")
DOORS = ("knock", "wait")


@dataclass
class CrossroadsConfig:
    """The settings of an environment."""

    rule: Literal["north", "south"] = "north"
    """The right way is the left one in the north, and the right one in the south."""


class Crossroads(Environment):
    """Take the right way, then knock."""

    Config = CrossroadsConfig
    max_turns = 3

    @property
    def system_prompt(self) -> str:  # type: ignore[override]
        """The rule."""
        return f"You are in the {self.config.rule}."

    def tasks(self, split: str) -> list[Task]:
        """Every fifth place and weather is for testing."""
        seeds = range(len(PLACES) * len(WEATHERS))
        return [
            Task(NAME, f"{NAME}-{seed}", seed, split, ("easy", "hard")[seed % 2])
            for seed in seeds
            if (seed % 5 == 4) == (split == "test")
        ]

    def reset(self, task: Task) -> Observation:
        self._arrived = False
        weather, place = divmod(task.seed, len(PLACES))
        return Observation(f"You come to the {PLACES[place]}. There is {WEATHERS[weather]}.", WAYS)

    def step(self, action: str) -> Step:
        known = DOORS if self._arrived else WAYS
        if action not in known:
            return Step(Observation("That is not possible.", known), valid=False)
        if self._arrived:
            home = action == "knock"
            end = Observation("You are home." if home else "Nothing happens.", DOORS)
            return Step(end, reward=0.5 * home, terminated=home, success=home)
        self._arrived = action == self._way
        if self._arrived:
            return Step(Observation("You see a door.", DOORS), reward=0.5)
        return Step(Observation("You are lost.", WAYS), terminated=True)

    def expert(self, task: Task) -> Sequence[str]:
        return [self._way, "knock"]

    @property
    def _way(self) -> str:
        return "go left" if self.config.rule == "north" else "go right"


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    register(NAME, Crossroads)
