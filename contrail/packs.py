"""Decisions of a batch of episodes, and the packs in which they are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from contrail.rollout.episode import Episode, Turn
from contrail.rollout.scoring import Forest, Part, Scores
from contrail.rollout.states import States
from contrail.tree import TokenTree

# Tokens whose activations are held at once for a backward pass. With fewer, more beginnings are
# computed again: 1,024 took 10% longer than 2,048, and 1,280 as long, with less memory.
MAX_TOKENS = 1280


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
            padded([[1.0] * len(row) for row in logprobs], torch.long),
        )

    def detached(self) -> Decisions:
        """The same as constants."""
        return Decisions(self.logprobs.detach(), self.entropies.detach(), self.mask)

    def replaced(self, pack: Pack, scores: Sequence[Scores], entropies: bool) -> Decisions:
        """The same, but for the pack's decisions, which are as scored."""
        rows: list[int] = []
        columns: list[int] = []
        for row, part, score in zip(pack.rows, pack.parts, scores, strict=True):
            first = sum(len(turn.logprobs) for turn in part.episode.turns[: part.begin])
            rows.extend([row] * len(score.logprobs))
            columns.extend(range(first, first + len(score.logprobs)))
        place = (torch.tensor(rows), torch.tensor(columns))

        def put(old: torch.Tensor, new: list[torch.Tensor]) -> torch.Tensor:
            return old.index_put([index.to(old.device) for index in place], torch.cat(new))

        return Decisions(
            put(self.logprobs, [score.logprobs for score in scores]),
            put(self.entropies, [score.entropies for score in scores])
            if entropies
            else self.entropies,
            self.mask,
        )


@dataclass
class Pack:
    """What is scored in one forward and backward pass: parts of episodes.

    `rows[i]`: the place of part i's episode in the batch.
    """

    rows: list[int]
    parts: list[Part]

    @property
    def splits(self) -> bool:
        """Whether some of an episode's decisions are missing."""
        return any(part.begin > 0 or part.end < len(part.episode.turns) for part in self.parts)

    def forest(self, states: States | None) -> Forest:
        """The parts as a forest; its nodes are those of the states, if there are any."""
        forest = Forest(TokenTree() if states is None else states.tree)
        forest.add(self.parts)
        return forest


def split(episodes: Sequence[Episode], indices: Sequence[int]) -> Iterator[Pack]:
    """Split episodes into packs of at most about MAX_TOKENS; equal beginnings stay together."""
    alike: dict[tuple[str, str], list[int]] = {}
    for index in indices:
        key = (episodes[index].environment, episodes[index].task.id)
        alike.setdefault(key, []).append(index)
    pack = Pack([], [])
    length = 0
    for group in alike.values():
        for place, index in enumerate(group):
            episode = episodes[index]
            for part, size in _parts(episode):
                if pack.parts and length + size > MAX_TOKENS:
                    yield pack
                    pack, length = Pack([], []), 0
                elif place and part.begin == 0:
                    size -= len(episode.turns[0].prompt)  # shared with the group
                pack.rows.append(index)
                pack.parts.append(part)
                length += size
    if pack.parts:
        yield pack


def _parts(episode: Episode) -> Iterator[tuple[Part, int]]:
    """An episode in as few parts as MAX_TOKENS allows, each with the tokens that it needs."""
    begin = context = length = 0
    for number, turn in enumerate(episode.turns):
        size = _nodes(turn)
        if number > begin and context + length + size > MAX_TOKENS:
            yield Part(episode, begin, number), context + length
            context += sum(
                len(turn.prompt) + len(turn.written) for turn in episode.turns[begin:number]
            )
            begin, length = number, 0
        length += size
    yield Part(episode, begin, len(episode.turns)), context + length


def _nodes(turn: Turn) -> int:
    """Tokens of a turn: its prompt, and its branches, whose common stems count once."""
    branches = turn.choices or [turn.written]
    stems = {tuple(branch[:end]) for branch in branches for end in range(1, len(branch))}
    return len(turn.prompt) + len(stems)
