"""An environment whose baselines are known, and how they are measured in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contrail import Adapter, Environment, Observation, Step, Task
from contrail.baselines import NAMES, Baseline, Subject, baselines
from contrail.plugins.adapters.choose import Choose
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.pool import EnvironmentPool

COLOURS = ("red", "green", "blue", "grey")


class Doors(Environment):
    """One turn: four doors, of which the goal names one. Task 10k + c wants colour c."""

    max_turns = 1
    played = 0
    wanted: Sequence[int] = (0, 1, 2, 3)

    def tasks(self, split: str) -> list[Task]:
        begin = {"train": 0, "test": 1000}[split]
        return [
            Task("doors", f"{split}/{n}", begin + n, split, self.wanted[n % len(self.wanted)])
            for n in range(200)
        ]

    def reset(self, task: Task) -> Observation:
        type(self).played += 1
        self._wanted = COLOURS[int(task.difficulty or 0)]
        doors = [f"open the {colour} door" for colour in COLOURS]
        return Observation(f"Your goal: the {self._wanted} door. You see four doors.", doors)

    def step(self, action: str) -> Step:
        won = action == f"open the {self._wanted} door"
        return Step(Observation("Done."), reward=float(won), terminated=True, success=won)

    def expert(self, task: Task) -> list[str] | None:
        return [f"open the {COLOURS[int(task.difficulty or 0)]} door"]


def measure(
    environment: type[Environment],
    names: Sequence[str] = NAMES,
    adapter: Adapter | None = None,
    **values: Any,
) -> dict[str, Baseline | None]:
    settings, max_turns = values.pop("settings", None), values.pop("max_turns", None)
    label = values.pop("label", "it")
    make = EnvironmentFactory("it", Registered(environment, "tests"), settings, max_turns)
    listed = make.here()
    test, train = listed.tasks("test"), listed.tasks("train")
    subject = Subject(label, make, adapter or Choose(), test, train)
    pool = EnvironmentPool({label: make})
    try:
        return baselines(subject, pool, names, **values)
    finally:
        pool.close()


def success(found: Baseline | None) -> float:
    assert found is not None
    assert found.success is not None
    return found.success
