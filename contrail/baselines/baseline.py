"""The scores of a policy without a model on an environment's test tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from contrail.adapter import Adapter
from contrail.baselines.play import Game, Outcome, play_games
from contrail.baselines.players import Player
from contrail.environment import Task
from contrail.intervals import score_interval
from contrail.rollout.watchdog import OnWait
from contrail.seeding import generator
from contrail.tasks.selection import TEST_SEED
from contrail.workers.pool import EnvironmentPool

SECONDS = 60.0
"""After the first sample of every task, further ones are played for about so long."""

Progress = Callable[[], object]


@dataclass(frozen=True)
class Baseline:
    """How a player did on one environment; the fields are as in `Scores`.

    `scores`: task id -> mean success over its samples, None where every sample was a fault or the
    player could not play the task. `samples`: episodes of each task, fewer than asked for where the
    environment is slow. `action`: the one of the player `constant`.
    """

    scores: dict[str, float | None]
    success: float | None
    reward: float | None
    turns: float | None
    invalid_action_rate: float | None
    fault_rate: float | None
    samples: int
    action: str | None = None
    first_fault: str | None = None

    @classmethod
    def of(
        cls,
        outcomes: Sequence[Outcome],
        samples: int,
        action: str | None = None,
        *,
        scripted: bool = False,
    ) -> Baseline | None:
        """Summarise all episodes; None where the player could not play all of them to their ends.

        The mean of the others would be that of a choice of tasks, and within a task of lucky, or
        unlucky, episodes. Only of a `scripted` player, the expert, tasks are left out for which
        there is no script.
        """
        played = [outcome for outcome in outcomes if outcome.undefined is None]
        if not played or (len(played) < len(outcomes) and not scripted):
            return None
        sound = [outcome for outcome in played if outcome.fault is None]
        by_task: dict[str, list[float]] = {outcome.task.id: [] for outcome in outcomes}
        for outcome in sound:
            by_task[outcome.task.id].append(float(outcome.success))
        scores = {task: _mean(values) for task, values in by_task.items()}
        turns = sum(outcome.turns for outcome in sound)
        return cls(
            scores=scores,
            success=_mean([score for score in scores.values() if score is not None]),
            reward=_mean([outcome.reward for outcome in sound]),
            turns=_mean([outcome.turns for outcome in sound]),
            invalid_action_rate=sum(item.invalid for item in sound) / turns if turns else None,
            fault_rate=_mean([float(outcome.fault is not None) for outcome in played]),
            samples=samples,
            action=action,
            first_fault=next((item.fault for item in played if item.fault is not None), None),
        )

    @property
    def tasks(self) -> int:
        """How many tasks have a score."""
        return sum(score is not None for score in self.scores.values())

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values; `Baseline(**record)` reads it back."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """As JSON values, with the number of tasks and the interval of the success."""
        return {**self.record(), "tasks": self.tasks, "interval": interval(self)}


def games(
    label: str,
    plan: Iterable[tuple[Task, int]],
    adapter: Adapter,
    player: Player,
    purpose: str = "baseline",
    end_after_invalid: int | None = None,
) -> list[Game]:
    """Episodes of tasks and samples, whose draws depend on these, the purpose, the player's name
    and the label alone."""
    name = (purpose, player.name, label)
    return [
        Game(
            label,
            task,
            adapter,
            player,
            generator(TEST_SEED, *name, task.id, sample),
            end_after_invalid,
        )
        for task, sample in plan
    ]


def measure(
    pool: EnvironmentPool,
    label: str,
    tasks: Sequence[Task],
    adapter: Adapter,
    player: Player,
    samples: int,
    *,
    end_after_invalid: int | None = None,
    seconds: float = SECONDS,
    progress: Progress = lambda: None,
    on_wait: OnWait | None = None,
) -> Baseline | None:
    """Play each task `samples` times; fewer times if that would take longer than `seconds`.

    The first sample of every task is always played; its duration decides how many follow.

    Args:
        pool: has the environment under the label.
        label: the environment's column in R.
        tasks: the tasks to play.
        adapter: the adapter through which the player acts.
        player: the player; the expert, which has no randomness, plays each task once.
        samples: the largest number of episodes per task.
        end_after_invalid: the number of invalid turns in a row after which an episode ends.
        seconds: the time for the samples after the first.
        progress: called after each episode.
        on_wait: called while the environment takes long.

    Returns:
        None if the player cannot play the environment.
    """
    begun = time.monotonic()

    def played(plan: Iterable[tuple[Task, int]]) -> list[Outcome]:
        made = games(label, plan, adapter, player, end_after_invalid=end_after_invalid)
        return play_games(pool, made, progress, on_wait)

    outcomes = played((task, 0) for task in tasks)
    took = max(time.monotonic() - begun, 1e-9)
    alike = player.scripted or all(item.undefined or item.fault for item in outcomes)
    count = 1 if alike else max(1, min(samples, 1 + int(seconds / took)))
    outcomes += played((task, sample) for sample in range(1, count) for task in tasks)
    return Baseline.of(outcomes, count, getattr(player, "action", None), scripted=player.scripted)


def interval(baseline: Baseline) -> list[float] | None:
    """Return the 95% interval of the success over test tasks and dice; None if it is undefined."""
    return score_interval(
        [numpy.nan if x is None else x for x in baseline.scores.values()]
    ).interval


def _mean(values: Sequence[float]) -> float | None:
    return float(numpy.mean(values)) if values else None
