"""Decisions of a batch of episodes as padded tensors, for the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from contrail.episode import Episode
from contrail.training.scorer import DecisionScores, Slice


@dataclass
class Decisions:
    """Decisions of a batch, padded: (episodes, longest)."""

    logprobs: torch.Tensor
    entropies: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def of(cls, episodes: Sequence[Episode], device: torch.device) -> Decisions:
        """As recorded in the rollout."""

        def padded(rows: Sequence[Sequence[float]], dtype: torch.dtype) -> torch.Tensor:
            tensors = [torch.tensor(row, dtype=dtype) for row in rows]
            return pad_sequence(tensors, batch_first=True).to(device)

        logprobs = [episode.logprobs for episode in episodes]
        return cls(
            padded(logprobs, torch.float32),
            padded([episode.entropies for episode in episodes], torch.float32),
            padded([episode.learnt for episode in episodes], torch.long),
        )

    def detached(self) -> Decisions:
        """Return the same as constants."""
        return Decisions(self.logprobs.detach(), self.entropies.detach(), self.mask)

    def replaced(
        self, scored: Slice, scores: Sequence[DecisionScores], entropies: bool
    ) -> Decisions:
        """Return the same decisions, except those of the slice, which are the scored ones."""
        rows: list[int] = []
        columns: list[int] = []
        for row, part, score in zip(scored.rows, scored.parts, scores, strict=True):
            first = sum(len(turn.logprobs) for turn in part.episode.turns[: part.begin])
            rows.extend([row] * len(score.logprobs))
            columns.extend(range(first, first + len(score.logprobs)))
        place = (torch.tensor(rows), torch.tensor(columns))

        def put(old: torch.Tensor, new: list[torch.Tensor]) -> torch.Tensor:
            found = old.index_put([index.to(old.device) for index in place], torch.cat(new))
            # No gradient flows through what is left out, whatever an objective's loss reads.
            return torch.where(self.mask.bool(), found, found.detach())

        return Decisions(
            put(self.logprobs, [score.logprobs for score in scores]),
            put(self.entropies, [score.entropies for score in scores])
            if entropies
            else self.entropies,
            self.mask,
        )


def without_left_out(weights: torch.Tensor, episodes: Sequence[Episode]) -> torch.Tensor:
    """Return a batch's weights, 0 where nothing is learnt."""
    learnt = torch.zeros_like(weights)
    for row, episode in enumerate(episodes):
        kept = torch.tensor(episode.learnt, dtype=weights.dtype)
        if weights.dim() == 1:
            learnt[row] = kept.any()
        else:
            learnt[row, : len(kept)] = kept
    return weights * learnt
