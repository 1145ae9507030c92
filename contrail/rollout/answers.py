"""What training makes of malformed answers: the settings `answers` of a stream file."""

from __future__ import annotations

from collections.abc import Iterable

from contrail.config import AnswersConfig
from contrail.episode import Episode


def mark(episodes: Iterable[Episode], answers: AnswersConfig) -> None:
    """Note on each turn its penalty, and whether it is left out of the loss."""
    for episode in episodes:
        for turn in episode.turns:
            turn.penalty = 0.0 if turn.valid else answers.invalid_penalty
            if turn.cut_off and answers.cut_off == "penalise":
                turn.penalty += answers.cut_off_penalty
            turn.left_out = turn.cut_off and answers.cut_off == "leave_out"
