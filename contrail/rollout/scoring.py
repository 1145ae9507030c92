"""Log-probabilities of what episodes' models wrote, in one forward and with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from contrail.attention import forward
from contrail.rollout.episode import Episode, Turn
from contrail.tree import Growth, Segment, TokenTree, batch


def choice_logprobs(scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (candidates,) of the candidates, in fp32.

    Args:
        scores: (candidates,) mean token log-probability of each: normalised by length, as in
            TWOSOME (arXiv:2401.14151), or long actions would hardly ever be tried.
        temperature: of the softmax over the candidates.
    """
    return (scores.float() / temperature).log_softmax(-1)


@dataclass
class Scores:
    """Of one episode: log-probabilities and entropies of its decisions, (decisions,) in fp32."""

    logprobs: torch.Tensor
    entropies: torch.Tensor


@dataclass
class _Place:
    """Where in the forest a turn's branches are: `branches[b]` of `growth` is its candidate b, or
    its free text."""

    growth: int
    branches: list[int]


class Forest:
    """Episodes as token trees: what they share is there once.

    Attributes:
        segments: for `contrail.tree.batch`.
        tokens: how many there are to compute.
    """

    def __init__(self) -> None:
        self._tree = TokenTree()
        self._growths: list[Growth] = []
        self._branch_ids: list[list[list[int]]] = []
        self._places: list[list[_Place]] = []
        self._turns: list[list[Turn]] = []
        self.segments: list[Segment] = []
        self.tokens = 0

    def add(self, episodes: Sequence[Episode]) -> None:
        """Add episodes; those that begin alike should be added together."""
        paths: list[list[int]] = [[] for _ in episodes]
        places: list[list[_Place]] = [[] for _ in episodes]
        for depth in range(max(len(episode.turns) for episode in episodes)):
            # Equal contexts grow once, with the branches of all.
            alike: dict[tuple[int, tuple[int, ...]], list[int]] = {}
            for index, episode in enumerate(episodes):
                if depth < len(episode.turns):
                    tokens = [*episode.turns[depth].prompt]
                    if depth:
                        tokens = [episode.turns[depth - 1].written[-1], *tokens]
                    slot = paths[index][-1] if paths[index] else -1
                    alike.setdefault((slot, tuple(tokens)), []).append(index)
            for (_, new), indices in alike.items():
                place_of: dict[tuple[int, ...], int] = {}
                for index in indices:
                    turn = episodes[index].turns[depth]
                    written = [
                        place_of.setdefault(tuple(branch), len(place_of))
                        for branch in turn.choices or [turn.written]
                    ]
                    places[index].append(_Place(len(self._growths), written))
                branches = [list(branch) for branch in place_of]
                growth = self._tree.grow(paths[indices[0]], new, branches)
                self._growths.append(growth)
                self._branch_ids.append(branches)
                self.segments.append(growth.segment)
                self.tokens += len(growth.segment.slots)
                for index in indices:
                    chosen = places[index][-1].branches[episodes[index].turns[depth].choice or 0]
                    paths[index] = growth.path + growth.branches[chosen]
        self._places.extend(places)
        self._turns.extend(episode.turns for episode in episodes)

    def score(
        self, model: PreTrainedModel, temperature: float, token_entropies: bool = False
    ) -> list[Scores]:
        """Score all episodes, in the order in which they were added.

        Args:
            model: with its adapter on, off or merged; gradients flow if they are enabled.
            temperature: of the distribution that sampled.
            token_entropies: whether entropies of free text are wanted; they cost a pass over the
                vocabulary, and are 0 otherwise.
        """
        laid = batch(self.segments, stored=False, device=model.device)
        rows: list[int] = []
        wanted: list[int] = []
        first_edge: list[list[int]] = []
        for first, growth, branches in zip(laid.rows, self._growths, self._branch_ids, strict=True):
            first_edge.append([])
            for edges, branch in zip(growth.edges, branches, strict=True):
                first_edge[-1].append(len(rows))
                rows.extend(first + place for place in edges)
                wanted.extend(branch)
        device = laid.tokens.device
        kept, row_of = torch.tensor(rows, device=device).unique(return_inverse=True)
        logits = forward(model, laid, kept).float()
        ids = torch.tensor(wanted, device=device)
        free = temperature != 1.0 or token_entropies
        plain = logits[row_of, ids] - logits.logsumexp(-1)[row_of]
        tempered, entropies = plain, torch.zeros_like(plain)
        if free and any(turn.choices is None for turns in self._turns for turn in turns):
            soft = (logits / temperature).log_softmax(-1)
            tempered = soft[row_of, ids]
            if token_entropies:
                entropies = -(soft.exp() * soft).sum(-1)[row_of]
        made = []
        for turns, places in zip(self._turns, self._places, strict=True):
            parts, uncertain = [], []
            for turn, place in zip(turns, places, strict=True):
                ids_of = self._branch_ids[place.growth]
                begins = first_edge[place.growth]
                spans = [
                    slice(begins[branch], begins[branch] + len(ids_of[branch]))
                    for branch in place.branches
                ]
                if turn.choices is None:
                    parts.append(tempered[spans[0]])
                    uncertain.append(entropies[spans[0]])
                else:
                    assert turn.choice is not None
                    means = torch.stack([plain[span].mean() for span in spans])
                    choice = choice_logprobs(means, temperature)
                    parts.append(choice[turn.choice : turn.choice + 1])
                    uncertain.append(-(choice.exp() * choice).sum().unsqueeze(0))
            made.append(Scores(torch.cat(parts), torch.cat(uncertain)))
        return made
