"""What a run is judged by: the scores of its test tasks, and what its stages trained on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrail.intervals import Array


@dataclass(frozen=True)
class TaskScores:
    """What a run is judged by.

    `scores`: environment -> (T + 1, tasks), mean success of each test task after each stage, nan
    where it has none; tasks are ordered by id. `trained`: for each stage the environments that the
    episodes of its updates were of. `own`: of these, the ones that the stage is meant for; `replay`
    also trains on others. `tasks`: their ids, by environment, where these are known. `outcomes`:
    environment -> (T + 1, tasks, samples), whether each episode solved its task; by default the
    scores, as if they were of one episode each. `registered`: the name under which each environment
    is registered, where it is known: two with different names share no task, even if ids are equal.
    `before`: the environments that another run, from which the policy began, had trained on.
    """

    scores: Mapping[str, Array]
    trained: Sequence[Collection[str]]
    own: Sequence[Collection[str]]
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    outcomes: Mapping[str, Array] = field(default_factory=dict)
    registered: Mapping[str, str] = field(default_factory=dict)
    before: Collection[str] = ()

    def __post_init__(self) -> None:
        for name, rows in self.scores.items():
            if len(rows) != len(self.trained) + 1:
                raise ValueError(
                    f"{name!r} has {len(rows)} rows; {len(self.trained)} stages make "
                    f"{len(self.trained) + 1}."
                )
        if unknown := {name for stage in self.trained for name in stage} - set(self.scores):
            raise ValueError(f"`trained` names {sorted(unknown)}, which have no scores.")

    @classmethod
    def read(cls, result: Mapping[str, Any], first: int | None = None) -> TaskScores:
        """From the content of result.json.

        Args:
            result: the content.
            first: the row to begin with; by default the one before the stream, which is 1 after a
                warm-up.
        """
        first = int(result.get("warmup", False)) if first is None else first
        scores, tasks, outcomes = {}, {}, {}
        for name in result["environments"]:
            cells = [row[name] for row in result["evaluations"][first:]]
            rows = [cell["scores"] for cell in cells]
            ids = tasks[name] = sorted({task for row in rows for task in row})
            scores[name] = np.array([[row.get(task) for task in ids] for row in rows], np.float64)
            played = [cell.get("outcomes", {}) for cell in cells]
            samples = {len(values) for row in played for values in row.values()}
            if all(played) and len(samples) == 1:
                none = [None] * samples.pop()
                table = [[row.get(task, none) for task in ids] for row in played]
                outcomes[name] = np.array(table, np.float64)
        trained, own = result["trained"][first:], result["own"][first:]
        registered = result.get("registered", {})  # not in results of earlier versions
        before = (result.get("begun_from") or {}).get("trained", ())
        return cls(scores, trained, own, tasks, outcomes, registered, before)

    def outcomes_of(self, name: str) -> Array:
        """Return (T + 1, tasks, samples): whether each episode solved its task."""
        found = self.outcomes.get(name)
        return self.scores[name][..., np.newaxis] if found is None else found

    @property
    def stages(self) -> int:
        """T."""
        return len(self.trained)

    def group(self, name: str) -> str:
        """Return the first of the environments that are joined with this one by shared tasks, such
        as two labels of one environment, directly or through others; itself if there is none."""
        joined, added = {name}, [name]
        while added:
            newest = added.pop()
            near = {other for other in self.scores if self._share_a_task(newest, other)} - joined
            joined |= near
            added += near
        return next(other for other in self.scores if other in joined)

    def _share_a_task(self, name: str, other: str) -> bool:
        kinds = {self.registered[item] for item in (name, other) if item in self.registered}
        return len(kinds) < 2 and not set(self.tasks.get(name, ())).isdisjoint(
            self.tasks.get(other, ())
        )

    @property
    def seen(self) -> list[str]:
        """The environments that a stage has trained on, in the order of `scores`."""
        trained = {name for stage in self.trained for name in stage}
        return [name for name in self.scores if name in trained]

    def first_stage(self, name: str) -> int | None:
        """Return the first stage that trained on an environment, from 1; None if none did."""
        stages = (i for i, names in enumerate(self.trained, start=1) if name in names)
        return next(stages, None)

    def own_stage(self, name: str) -> int | None:
        """Return the last stage meant for an environment, or else the last that trained on it."""
        for stages in (self.own, self.trained):
            last = [i for i, names in enumerate(stages, start=1) if name in names]
            if last:
                return last[-1]
        return None

    def left(self) -> dict[str, int]:
        """Own stages of the environments that training has left behind."""
        stages = {name: self.own_stage(name) for name in self.scores}
        return {name: i for name, i in stages.items() if i is not None and i < self.stages}
