"""Policies without a model, shown beside every score: see docs/baselines.md.

`random`: uniform over the listed actions. `words`: the listed action that shares most words with
the goal. `constant`: the one action that, chosen whenever it is listed, solves most training tasks.
`expert`: the environment's own expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contrail.adapter import Adapter
from contrail.baselines import cache
from contrail.baselines.baseline import SECONDS, Baseline, Progress, measure
from contrail.baselines.constant import best_constant
from contrail.baselines.players import (
    CONSTANT,
    EXPERT,
    RANDOM,
    WORDS,
    Expert,
    Player,
    Random,
    Words,
)
from contrail.environment import Task
from contrail.rollout.watchdog import OnWait
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.pool import EnvironmentPool

NAMES = (RANDOM, WORDS, CONSTANT, EXPERT)
SAMPLES = 10
"""Episodes of each task, so that a baseline's own noise is small beside that of the tasks."""
EASY = 0.6
"""If random play succeeds this often, a score says little about skill."""

__all__ = [
    "CONSTANT",
    "EASY",
    "EXPERT",
    "NAMES",
    "RANDOM",
    "SAMPLES",
    "WORDS",
    "Baseline",
    "Subject",
    "baselines",
    "is_cached",
    "play_one",
    "warning",
]


@dataclass(frozen=True)
class Subject:
    """One environment, as it is evaluated.

    Attributes:
        label: of its column in R.
        make: makes its instances.
        adapter: through which it is played.
        tasks: the test tasks.
        training: the training tasks, for the player `constant` alone.
        end_after_invalid: the number of invalid turns in a row after which an episode ends.
    """

    label: str
    make: EnvironmentFactory
    adapter: Adapter
    tasks: Sequence[Task]
    training: Sequence[Task] = ()
    end_after_invalid: int | None = None


def baselines(
    subject: Subject,
    pool: EnvironmentPool,
    names: Sequence[str] = NAMES,
    *,
    samples: int = SAMPLES,
    seconds: float = SECONDS,
    progress: Progress = lambda: None,
    on_wait: OnWait | None = None,
) -> dict[str, Baseline | None]:
    """Play an environment's test tasks with players without a model.

    Args:
        subject: the environment.
        pool: has the environment under its label.
        names: the names of the players.
        samples: the largest number of episodes per task.
        seconds: the time for the samples after the first, and again for the search of `constant`.
        progress: called after each episode.
        on_wait: called while the environment takes long, see `contrail.rollout.watchdog`.

    Returns:
        The baselines by name; None for a player that cannot play the environment, because it lists
        no
        actions or has no expert.
    """
    found = {}
    for name in names:
        digest = _key(subject, name, samples)
        known, baseline = cache.read(digest)
        if not known:
            baseline = play_one(subject, pool, name, samples, seconds, progress, on_wait)
            # With more time the best constant action may be found.
            if baseline is not None or name != CONSTANT:
                cache.write(digest, baseline)
        found[name] = baseline
    return found


def is_cached(subject: Subject, name: str, samples: int = SAMPLES) -> bool:
    """Return whether `baselines` need not play."""
    return cache.read(_key(subject, name, samples))[0]


def _key(subject: Subject, name: str, samples: int) -> str | None:
    learnt = [subject.training] if name == CONSTANT else []
    return cache.key(
        subject.label,
        subject.make,
        subject.adapter,
        [subject.tasks, *learnt],
        name,
        samples,
        subject.end_after_invalid,
    )


def play_one(
    subject: Subject,
    pool: EnvironmentPool,
    name: str,
    samples: int,
    seconds: float,
    progress: Progress = lambda: None,
    on_wait: OnWait | None = None,
) -> Baseline | None:
    """Play an environment's test tasks with one player, whether or not that is cached."""
    label, adapter, end = subject.label, subject.adapter, subject.end_after_invalid
    player: Player | None
    if name == CONSTANT:
        player = best_constant(
            pool,
            label,
            subject.training,
            adapter,
            end_after_invalid=end,
            seconds=seconds,
            progress=progress,
            on_wait=on_wait,
        )
    else:
        player = Random() if name == RANDOM else Words() if name == WORDS else Expert()
    if player is None:
        return None
    return measure(
        pool,
        label,
        subject.tasks,
        adapter,
        player,
        samples,
        end_after_invalid=end,
        seconds=seconds,
        progress=progress,
        on_wait=on_wait,
    )


def warning(random: float | None) -> str:
    """Return a warning if this success of random play needs one; otherwise ""."""
    if random is None or random < EASY:
        return ""
    return (
        f"random play solves {random:.2f} of the tasks, so that a score says little about skill. "
        "Choose harder tasks or fewer turns (max_turns)."
    )
