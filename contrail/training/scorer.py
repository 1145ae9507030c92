"""Log-probabilities of the decisions of episodes, with gradients: the seam, and the plain scorer.

A scorer divides a batch of episodes into slices, each as large as memory allows in one backward
pass, and scores one slice at a time. `contrail.training.shared` holds the fast scorer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel

from contrail.engine.decide import choice_logprobs
from contrail.episode import Episode
from contrail.model.hidden_states import HiddenStates
from contrail.model.plain import Query, answer, padded_size, picked

# Tokens of a backward pass of the plain scorer, padding included. The candidates of one choice are
# normalised over each other, so a choice has one pass, however many tokens that takes.
MAX_TOKENS = 1024


@dataclass
class DecisionScores:
    """Of one episode: log-probabilities and entropies of its decisions, (decisions,) in fp32.

    `distributions`: where asked for, the log-probabilities of all that could have been decided, a
    tensor for each decision: (candidates,), or (vocabulary,) for a token.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor
    distributions: list[torch.Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class TurnSpan:
    """The turns `begin` to `end` (exclusive) of an episode, to be scored; the turns before are
    context, from `first` on."""

    episode: Episode
    begin: int
    end: int

    @property
    def first(self) -> int:
        """The first turn in the context of the turn `begin`."""
        return self.episode.first_turn(self.begin)


@dataclass
class Slice:
    """Parts of episodes that are scored in one forward and backward pass.

    `rows[i]`: the index in the batch of part i's episode.
    """

    rows: list[int]
    parts: list[TurnSpan]

    @property
    def splits(self) -> bool:
        """Whether some of an episode's decisions are missing."""
        return any(part.begin > 0 or part.end < len(part.episode.turns) for part in self.parts)


class Scorer(Protocol):
    """Scores episodes under a model, in slices.

    `computed_tokens`: the tokens computed so far.
    """

    computed_tokens: int

    def split(self, episodes: Sequence[Episode], indices: Sequence[int]) -> Sequence[Slice]:
        """Divide the episodes of these indices into slices."""
        ...

    def score(
        self,
        model: PreTrainedModel,
        slices: Sequence[Slice],
        temperature: float,
        *,
        entropies: bool = False,
        kept: bool = False,
        distributions: bool = False,
    ) -> Iterator[tuple[Slice, list[DecisionScores]]]:
        """Score slices made by `split`, in their order, with gradients if these are enabled.

        Call `backward` on one slice's scores before asking for the next slice. The gradients are
        complete when the iterator has ended.

        Args:
            model: the policy's model.
            slices: the slices to score.
            temperature: of the distribution that sampled.
            entropies: whether entropies of free text are needed; otherwise they may be 0.
            kept: whether to begin with the frozen layers' outputs from the rollout, if there are
                any.
            distributions: whether `DecisionScores.distributions` are needed.
        """
        ...

    def distributions(
        self,
        model: PreTrainedModel,
        episodes: Sequence[Episode],
        temperature: float,
        kept: HiddenStates | None = None,
    ) -> Iterator[list[torch.Tensor]]:
        """For each part of an episode `DecisionScores.distributions`, with a graph of its own.

        With `kept`, the frozen layers' outputs are kept there, and taken from there by the next
        model that scores the same episodes.
        """
        ...


class PlainScorer:
    """Whole sequences through forwards as transformers runs them: slow, and right for any model."""

    def __init__(self) -> None:
        self.computed_tokens = 0

    def split(self, episodes: Sequence[Episode], indices: Sequence[int]) -> Sequence[Slice]:
        """See `Scorer`."""
        slices: list[Slice] = []
        queries: list[Query] = []
        for index in indices:
            turns = [_queries(episodes[index], n) for n in range(len(episodes[index].turns))]
            # A turn needs all that comes before it: with fewer tokens than the costliest one needs,
            # beginnings would be computed again and no memory saved.
            most = max([MAX_TOKENS, *map(padded_size, turns)])
            whole = [query for asked in turns for query in asked]
            if (
                whole and padded_size([*queries, *whole]) > most
            ):  # it is divided less from its start
                queries = []
            for number, asked in enumerate(turns):
                if not queries or padded_size([*queries, *asked]) > most:
                    slices.append(Slice([], []))
                    queries = []
                queries += asked
                _extend(slices[-1], index, episodes[index], number)
        return slices

    def score(
        self,
        model: PreTrainedModel,
        slices: Sequence[Slice],
        temperature: float,
        *,
        entropies: bool = False,
        kept: bool = False,
        distributions: bool = False,
    ) -> Iterator[tuple[Slice, list[DecisionScores]]]:
        """See `Scorer`."""
        for one in slices:
            yield one, self._score(model, one, temperature, entropies)

    def distributions(
        self,
        model: PreTrainedModel,
        episodes: Sequence[Episode],
        temperature: float,
        kept: HiddenStates | None = None,
    ) -> Iterator[list[torch.Tensor]]:
        """See `Scorer`; nothing is kept."""
        for episode in episodes:
            for one in self.split([episode], [0]):
                [scores] = self._score(model, one, temperature, False)
                yield scores.distributions

    def _score(
        self, model: PreTrainedModel, scored: Slice, temperature: float, entropies: bool
    ) -> list[DecisionScores]:
        asked = [_part_queries(part) for part in scored.parts]
        queries = [query for part in asked for turn in part for query in turn]
        self.computed_tokens += padded_size(queries)
        answers = iter(answer(model, queries))
        return [
            _scores(part, [[next(answers) for _ in turn] for turn in own], temperature, entropies)
            for part, own in zip(scored.parts, asked, strict=True)
        ]


def _extend(last: Slice, index: int, episode: Episode, turn: int) -> None:
    """Add an episode's turn to a slice that ends with the turn before, if with any of it."""
    if last.rows and last.rows[-1] == index:
        last.parts[-1] = TurnSpan(episode, last.parts[-1].begin, turn + 1)
    else:
        last.rows.append(index)
        last.parts.append(TurnSpan(episode, turn, turn + 1))


def _part_queries(part: TurnSpan) -> list[list[Query]]:
    """By turn, then by candidate."""
    return [_queries(part.episode, number) for number in range(part.begin, part.end)]


def _queries(episode: Episode, number: int) -> list[Query]:
    turn = episode.turns[number]
    context = episode.context(number)
    return [Query.of(context, branch) for branch in turn.choices or [turn.written]]


def _scores(
    part: TurnSpan,
    answers: Sequence[Sequence[torch.Tensor]],
    temperature: float,
    entropies: bool,
) -> DecisionScores:
    logprobs, uncertain = [], []
    every: list[torch.Tensor] = []
    turns = part.episode.turns[part.begin : part.end]
    for turn, logits in zip(turns, answers, strict=True):
        if turn.choices is None:
            decided = (logits[0] / temperature).log_softmax(-1)
            chosen = torch.tensor(turn.written, device=decided.device)
        else:
            means = [
                picked(of.log_softmax(-1), branch).mean()
                for of, branch in zip(logits, turn.choices, strict=True)
            ]
            decided = choice_logprobs(torch.stack(means), temperature).unsqueeze(0)
            chosen = torch.tensor([turn.choice], device=decided.device)
        logprobs.append(decided.gather(1, chosen.unsqueeze(1))[:, 0])
        if turn.choices is None and not entropies:
            uncertain.append(decided.new_zeros(len(decided)))
        else:
            uncertain.append(torch.special.entr(decided.exp()).sum(-1))
        every.extend(decided)
    return DecisionScores(torch.cat(logprobs), torch.cat(uncertain), every)
