"""A world that pays at the end only, and ends by itself in its third step at the earliest. Worker
processes import it: keep it light."""

from __future__ import annotations

from typing import Any

import contrail
from contrail.environment import NoConfig
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory


class Scored(contrail.Environment):
    """The score is the number of steps, which is told when somebody asks for it."""

    max_turns = 5
    ends_after = 3

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("scored", f"{split}/{n}", n, split) for n in range(6)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self._steps, self._long = 0, task.seed % 2
        return contrail.Observation(f"Task {task.seed}.", ["on", "go"])

    def step(self, action: str) -> contrail.Step:
        self._steps += 1
        if self._steps == self.ends_after and not self._long:
            return self._end()
        return contrail.Step(contrail.Observation(f"{self._steps}.", ["on", "go"]))

    def finish(self) -> contrail.Step:
        return self._end()

    def _end(self) -> contrail.Step:
        over = contrail.Observation("Over.", [])
        score = {"score": float(self._steps)}
        return contrail.Step(over, self._steps, True, success=self._steps > 2, info=score)


class Wrong(Scored):
    """Says nothing that could be a score."""

    def finish(self) -> Any:
        return 3


class Endless(Scored):
    """Its score is no number."""

    def finish(self) -> contrail.Step:
        return contrail.Step(contrail.Observation(""), float("nan"))


def maker(cls: type[Scored] = Scored, workers: int = 2) -> EnvironmentFactory:
    """What makes instances in so many worker processes."""
    return EnvironmentFactory(
        "scored", Registered[type[contrail.Environment]](cls, "scored"), NoConfig(), None, workers
    )
