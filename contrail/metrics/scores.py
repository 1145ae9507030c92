"""How a policy did on the test tasks of one environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contrail.episode import Episode
from contrail.metrics.episode import EpisodeMetric, averages, mean
from contrail.metrics.failures import count
from contrail.metrics.pass_at import repeated

PARTS = ("by_difficulty", "difficulties", "outcomes", "drift", "failures")
"""Fields of `Scores` that are kept where they are not empty."""
OTHERS = ("scores", "tasks", "avg_at", "pass_at", *PARTS)
"""Keys of a record or summary that are no metrics of an episode."""


@dataclass(frozen=True)
class Scores:
    """The scores of a policy on the test tasks of one environment."""

    scores: dict[str, float | None]
    """Task id -> mean success of its episodes; None if all of them were faults."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """Name of an episode metric -> its mean; None if it is undefined."""
    by_difficulty: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Difficulty -> the mean success of its tasks (`success`), and their number (`tasks`). Empty if
    tasks have no difficulty."""
    difficulties: dict[str, str | int] = field(default_factory=dict)
    """Task id -> its difficulty. Tasks without one are left out."""
    outcomes: dict[str, list[float | None]] = field(default_factory=dict)
    """Task id -> 1 or 0 for each of its episodes, None for a fault. Empty with one episode per
    task, where `scores` says as much."""
    drift: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """To the "base" model or the "previous" row -> task id -> nats per episode, and per decision.
    Empty without `evaluate.drift`, and before any training."""
    failures: dict[str, Any] = field(default_factory=dict)
    """The numbers of `episodes`, of those that `failed`, and of those that show each failure mode
    (`modes`). Faults are no episodes."""

    @classmethod
    def of(cls, episodes: Sequence[Episode], metrics: Iterable[EpisodeMetric] = ()) -> Scores:
        """Summarise all episodes of one environment.

        Raises:
            PluginError: a metric cannot be computed.
        """
        by_task: dict[str, list[Episode]] = {}
        groups: dict[str | int, list[str]] = {}
        for episode in episodes:
            task = episode.task
            if task.difficulty is not None and task.id not in by_task:
                groups.setdefault(task.difficulty, []).append(task.id)
            by_task.setdefault(task.id, []).append(episode)
        scores = {
            task: mean([float(item.success) for item in played if item.fault is None])
            for task, played in by_task.items()
        }
        outcomes = {
            task: [float(item.success) if item.fault is None else None for item in played]
            for task, played in by_task.items()
        }
        return cls(
            scores=scores,
            outcomes=outcomes if any(len(values) > 1 for values in outcomes.values()) else {},
            metrics=averages(metrics, episodes),
            failures=count(episodes),
            by_difficulty={
                str(difficulty): {
                    "success": mean([scores[task] for task in tasks]),
                    "tasks": sum(scores[task] is not None for task in tasks),
                }
                for difficulty, tasks in groups.items()
            },
            difficulties={
                task: difficulty for difficulty, tasks in groups.items() for task in tasks
            },
        )

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Scores:
        """Return the opposite of `record` and of `summary`; those of older versions are read,
        too."""
        metrics = {name: value for name, value in record.items() if name not in OTHERS}
        kept = {name: dict(record.get(name, {})) for name in PARTS}
        return cls(dict(record["scores"]), metrics, **kept)

    @property
    def success(self) -> float | None:
        """The mean over tasks of their scores."""
        return mean(list(self.scores.values()))

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values; `Scores.read(record)` reads it back."""
        parts = {name: part for name in PARTS if (part := getattr(self, name))}
        return {"scores": self.scores, "success": self.success, **self.metrics, **parts}

    def reading(self) -> dict[str, Any]:
        """Return the metrics of an episode and, of several samples, avg@k and pass@k."""
        return {**self.metrics, **repeated(self.outcomes)}

    def summary(self) -> dict[str, Any]:
        """As JSON values, with the number of tasks, and avg@k and pass@k of several samples."""
        return {**self.record(), "tasks": len(self.scores), **repeated(self.outcomes)}
