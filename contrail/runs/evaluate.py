"""Scores of the policy on fixed test tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from contrail.adapter import Adapter
from contrail.environment import Task
from contrail.model.policy import Policy
from contrail.episode import Episode
from contrail.rollout.play import Job, Progress, play
from contrail.workers.pool import EnvironmentPool
from contrail.seeding import generator


@dataclass(frozen=True)
class Evaluation:
    """How the policy did on one environment.

    `scores`: task id -> mean success over its samples, None where every sample was a fault. The
    rest are means over the episodes without a fault, None if there is none; `turns` and
    `generated_tokens` are per episode, `invalid_action_rate` per turn, `fault_rate` over all.
    """

    scores: dict[str, float | None]
    success: float | None
    reward: float | None
    turns: float | None
    generated_tokens: float | None
    invalid_action_rate: float | None
    fault_rate: float | None

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Evaluation:
        """Summarise all episodes of one environment."""
        by_task: dict[str, list[Episode]] = {}
        for episode in episodes:
            by_task.setdefault(episode.task.id, []).append(episode)
        scores = {
            task: _mean([float(item.success) for item in played if item.fault is None])
            for task, played in by_task.items()
        }
        sound = [episode for episode in episodes if episode.fault is None]
        turns = [turn for episode in sound for turn in episode.turns]
        return cls(
            scores=scores,
            success=_mean([score for score in scores.values() if score is not None]),
            reward=_mean([episode.reward for episode in sound]),
            turns=_mean([len(episode.turns) for episode in sound]),
            generated_tokens=_mean([episode.generated_tokens for episode in sound]),
            invalid_action_rate=_mean([float(not turn.valid) for turn in turns]),
            fault_rate=_mean([float(episode.fault is not None) for episode in episodes]),
        )

    def record(self) -> dict[str, Any]:
        """The same as JSON values; `Evaluation(**record)` reads it back."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """As JSON values, with the number of tasks."""
        return {**self.record(), "tasks": len(self.scores)}


def evaluate(
    policy: Policy,
    pool: EnvironmentPool,
    environment: str,
    tasks: Sequence[Task],
    adapter: Adapter,
    *,
    seed: int,
    samples: int = 1,
    temperature: float = 1.0,
    greedy: bool = False,
    progress: Progress | None = None,
) -> tuple[Evaluation, list[Episode]]:
    """Play each task `samples` times.

    The dice depend on the run's seed, the environment's label, the task and the sample: stages and
    strategies with one seed are compared on the same tasks with the same luck, and every seed has
    luck of its own, without which intervals over seeds would leave the dice out.
    """
    jobs = [
        Job(
            environment,
            task,
            adapter,
            generator(seed, "evaluate", environment, task.id, sample),
            sample,
        )
        for task in tasks
        for sample in range(samples)
    ]
    episodes = play(policy, pool, jobs, temperature=temperature, greedy=greedy, progress=progress)
    return Evaluation.of(episodes), episodes


def _mean(values: Sequence[float]) -> float | None:
    return float(numpy.mean(values)) if values else None
