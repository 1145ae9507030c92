"""Scores of the policy on fixed test tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from contrail.adapter import Adapter
from contrail.environment import Task
from contrail.episode import Episode
from contrail.metrics.episode import EpisodeMetric
from contrail.metrics.failures import Diagnosis
from contrail.metrics.scores import Scores
from contrail.model.policy import Policy
from contrail.rollout.play import Job, Progress, play
from contrail.rollout.watchdog import Wait
from contrail.seeding import generator
from contrail.workers.pool import EnvironmentPool


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
    end_after_invalid: int | None = None,
    progress: Progress | None = None,
    metrics: Iterable[EpisodeMetric] = (),
    check: Callable[[], None] | None = None,
    diagnose: Diagnosis | None = None,
    dice: str | None = None,
    on_wait: Callable[[Wait, bool], None] | None = None,
) -> tuple[Scores, list[Episode]]:
    """Play each task `samples` times.

    The dice depend on the run's seed, the environment's label, the task and the sample: stages and
    strategies with one seed are compared on the same tasks with the same luck, and every seed has
    luck of its own, without which intervals over seeds would leave the dice out. `dice` takes the
    place of the label: the versions of an environment have the dice of one.
    """
    dice = environment if dice is None else dice
    jobs = [
        Job(
            environment,
            task,
            adapter,
            generator(seed, "evaluate", dice, task.id, sample),
            sample,
        )
        for task in tasks
        for sample in range(samples)
    ]
    episodes = play(
        policy,
        pool,
        jobs,
        temperature=temperature,
        greedy=greedy,
        end_after_invalid=end_after_invalid,
        progress=progress,
        check=check,
        on_wait=on_wait,
    )
    if diagnose is not None:
        diagnose(episodes)
    return Scores.of(episodes, metrics), episodes
