"""Two environments that differ in one line: what is right in one is wrong in the other.

The diagnostic stream (conflict.yaml): a policy that does not read the line can do only one of the
two, so training on the second undoes the first.
"""

from dataclasses import dataclass
from typing import Literal

import contrail

PLACES = ("gate", "well", "mill", "barn", "bridge", "tower", "forge", "ford", "inn", "quay")
WEATHERS = ("rain", "snow", "fog", "sun", "hail", "wind", "frost", "dust")


@dataclass
class ConflictConfig:
    """The keys of conflict in stream.yaml."""

    rule: Literal["north", "south"] = "north"
    """The right way; only the system prompt reveals it."""


class Conflict(contrail.Environment):
    """At a place, in some weather: left or right? North and south want opposite answers."""

    Config = ConflictConfig
    max_turns = 1

    @property
    def system_prompt(self) -> str:
        return f"You are in the {self.config.rule}."

    def tasks(self, split):
        seeds = range(len(PLACES) * len(WEATHERS))
        return [
            contrail.Task("conflict", f"{split}-{seed}", seed, split)
            for seed in seeds
            if (seed % 5 < 2) == (split == "test")
        ]

    def reset(self, task):
        weather, place = divmod(task.seed, len(PLACES))
        text = f"You come to the {PLACES[place]}. There is {WEATHERS[weather]}."
        return contrail.Observation(text, ["left", "right"])

    def step(self, action):
        done = action == ("left" if self.config.rule == "north" else "right")
        end = contrail.Observation("You arrive." if done else "You are lost.", [])
        return contrail.Step(end, reward=float(done), terminated=True, success=done)


@contrail.hookimpl
def contrail_environments(register):
    register("conflict", Conflict)
