"""The metrics of an episode that every run has."""

from __future__ import annotations

from collections.abc import Callable

import contrail
from contrail import EpisodeMetric

METRICS = (
    EpisodeMetric(
        "success",
        lambda episode: float(episode.success),
        "share of the episodes that solved their task",
        over="tasks",
        least=0.0,
        most=1.0,
    ),
    EpisodeMetric(
        "score",
        lambda episode: episode.info.get("score"),
        "how much of its task an episode solved, where the environment grades it",
        over="tasks",
        optional=True,
        least=0.0,
        most=1.0,
    ),
    EpisodeMetric("reward", lambda episode: episode.reward, "sum of the rewards of the steps"),
    EpisodeMetric(
        "turns",
        lambda episode: len(episode.turns),
        "number of actions",
        format=".1f",
        least=0.0,
    ),
    EpisodeMetric(
        "generated_tokens",
        lambda episode: episode.generated_tokens,
        "number of token ids that the model wrote",
        unit="tokens",
        heading="tokens",
        format=".1f",
        least=0.0,
    ),
    EpisodeMetric(
        "invalid_action_rate",
        lambda episode: [float(not turn.valid) for turn in episode.turns],
        "share of the turns without an action, or with one that the environment refused",
        over="turns",
        heading="invalid",
        least=0.0,
        most=1.0,
    ),
    EpisodeMetric(
        "cut_off_rate",
        lambda episode: [
            float(turn.cut_off) if turn.choices is None else None for turn in episode.turns
        ],
        "share of the answers in free text that were cut off before their end",
        over="turns",
        heading="cut off",
        least=0.0,
        most=1.0,
    ),
    EpisodeMetric(
        "fault_rate",
        lambda episode: float(episode.fault is not None),
        "share of the episodes in which the environment raised an exception",
        heading="faults",
        faults=True,
        least=0.0,
        most=1.0,
    ),
)


@contrail.hookimpl
def contrail_metrics(register: Callable[[EpisodeMetric], None]) -> None:
    for metric in METRICS:
        register(metric)
