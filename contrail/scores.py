"""How a policy did on the test tasks of one environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contrail.episode import Episode
from contrail.episode_metrics import EpisodeMetric, averages, mean


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

    @classmethod
    def of(cls, episodes: Sequence[Episode], metrics: Iterable[EpisodeMetric] = ()) -> Scores:
        """Summarise all episodes of one environment.

        Raises:
            PluginError: a metric cannot be computed.
        """
        by_task: dict[str, list[Episode]] = {}
        difficulties: dict[str | int, list[str]] = {}
        for episode in episodes:
            task = episode.task
            if task.difficulty is not None and task.id not in by_task:
                difficulties.setdefault(task.difficulty, []).append(task.id)
            by_task.setdefault(task.id, []).append(episode)
        scores = {
            task: mean([float(item.success) for item in played if item.fault is None])
            for task, played in by_task.items()
        }
        return cls(
            scores=scores,
            metrics=averages(metrics, episodes),
            by_difficulty={
                str(difficulty): {
                    "success": mean([scores[task] for task in tasks]),
                    "tasks": len(tasks),
                }
                for difficulty, tasks in difficulties.items()
            },
        )

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Scores:
        """Return the opposite of `record` and of `summary`; those of older versions are read,
        too."""
        known = ("scores", "by_difficulty", "tasks")
        metrics = {name: value for name, value in record.items() if name not in known}
        return cls(dict(record["scores"]), metrics, dict(record.get("by_difficulty", {})))

    @property
    def success(self) -> float | None:
        """The mean over tasks of their scores."""
        return mean(list(self.scores.values()))

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values; `Scores.read(record)` reads it back."""
        difficulty = {"by_difficulty": self.by_difficulty} if self.by_difficulty else {}
        return {"scores": self.scores, "success": self.success, **self.metrics, **difficulty}

    def summary(self) -> dict[str, Any]:
        """As JSON values, with the number of tasks."""
        return {**self.record(), "tasks": len(self.scores)}
