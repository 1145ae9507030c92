"""Distillation on the policy's own episodes: the base class of such objectives.

The loss of a decision is the reverse KL divergence, D(policy || teacher), over all that could have
been decided: over the candidates of a choice, or over the vocabulary for a token of free text. It
is the on-policy distillation of GKD (arXiv:2306.13649), exact instead of estimated from the sampled
token.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from contrail.episode import Episode
from contrail.training.objective import Batch, Groups, Objective

if TYPE_CHECKING:
    import torch

    from contrail.model.teacher import Teacher
    from contrail.training.decisions import Decisions
    from contrail.training.learner import Learner

MAX_VALUES = 1 << 26
"""Log-probabilities of teachers that are held at once: 256 MB. An episode is not divided."""


class Distillation(Objective):
    """An objective whose stages learn from teachers, at the states of the policy's episodes."""

    @abstractmethod
    def teacher(self, learner: Learner, environment: str) -> Teacher:
        """Return the teacher of an environment; equal objects are asked together."""

    def shown(self, learner: Learner, episode: Episode) -> Episode:
        """Return the episode as the teacher sees it, with the same decisions."""
        return episode

    def samples(self, learner: Learner) -> int:
        return 1

    def weights(
        self, learner: Learner, groups: Groups, minibatches: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """Return the weights with which environments count by their episodes."""
        episodes = [episode for group in groups for episode in group]
        parts = [[episodes[index] for index in indices] for indices in minibatches]
        return [learner.environment_weights(part) for part in parts]

    def loss(
        self, learner: Learner, decisions: Decisions, recorded: Decisions, batch: Batch, final: bool
    ) -> torch.Tensor:
        raise AssertionError("the loss needs whole distributions: see `backward`")

    def backward(self, learner: Learner, batch: Batch) -> float:
        """Add the gradients of the mean divergence over the batch's decisions; return the mean.

        An episode's decisions count by its weight; those of turns and of episodes (weight 0) that
        are left out do not count, and are not divided by either.
        """
        used = [bool(weight) for weight in batch.weights.tolist()]
        learnt = itertools.compress(batch.episodes, used)
        count = max(1, sum(sum(episode.learnt) for episode in learnt))
        by_teacher: dict[int, tuple[Teacher, list[int]]] = {}
        for index, episode in enumerate(batch.episodes):
            if used[index]:
                teacher = self.teacher(learner, episode.environment)
                by_teacher.setdefault(id(teacher), (teacher, []))[1].append(index)
        loss = 0.0
        divergences: dict[str, list[float]] = {}
        for teacher, indices in by_teacher.values():
            for chunk in _chunks(batch.episodes, indices, learner.policy.vocabulary):
                targets = self._targets(learner, teacher, [batch.episodes[i] for i in chunk])
                for index, found in _learn(learner, batch, chunk, targets, count):
                    loss += float(batch.weights[index]) * sum(found) / count
                    divergences.setdefault(batch.episodes[index].environment, []).extend(found)
        for environment, values in divergences.items():
            if values:
                self.log(f"divergence/{environment}", sum(values) / len(values))
        return loss

    def _targets(
        self, learner: Learner, teacher: Teacher, episodes: Sequence[Episode]
    ) -> list[list[torch.Tensor]]:
        """Return the teacher's log-probabilities of all that could have been decided, by episode
        and decision."""
        import torch

        seen = [self.shown(learner, episode) for episode in episodes]
        same = all(one is other for one, other in zip(seen, episodes, strict=True))
        found: list[list[torch.Tensor]] = [[] for _ in episodes]
        with torch.no_grad(), teacher.acting() as model:
            scorer = learner.scorer
            scored = scorer.score(
                model,
                scorer.split(seen, range(len(seen))),
                learner.config.temperature,
                kept=teacher.kept and same,
                distributions=True,
            )
            for piece, scores in learner.extra(scored):
                for row, score in zip(piece.rows, scores, strict=True):
                    found[row].extend(score.distributions)
        return found


def _learn(
    learner: Learner,
    batch: Batch,
    chunk: Sequence[int],
    targets: Sequence[Sequence[torch.Tensor]],
    count: int,
) -> Iterator[tuple[int, list[float]]]:
    """Add the gradients of some episodes; yield their indices with the divergences."""

    episodes = [batch.episodes[index] for index in chunk]
    scorer = learner.scorer
    with learner.policy.learning() as model:
        scored = scorer.score(
            model,
            scorer.split(episodes, range(len(episodes))),
            learner.config.temperature,
            kept=True,
            distributions=True,
        )
        for piece, scores in scored:
            own: list[torch.Tensor] = []
            other: list[torch.Tensor] = []
            weights: list[float] = []
            for row, part, score in zip(piece.rows, piece.parts, scores, strict=True):
                first = sum(len(turn.logprobs) for turn in part.episode.turns[: part.begin])
                own += score.distributions
                other += targets[row][first : first + len(score.distributions)]
                learnt = part.episode.learnt[first : first + len(score.distributions)]
                weights += [float(batch.weights[chunk[row]]) / count * bit for bit in learnt]
            values, loss = reverse_kl(own, other, weights)
            loss.backward()
            left = zip(values, weights, strict=True)
            for row, score in zip(piece.rows, scores, strict=True):
                own_values = itertools.islice(left, len(score.distributions))
                yield chunk[row], [value for value, weight in own_values if weight]


def reverse_kl(
    own: Sequence[torch.Tensor], other: Sequence[torch.Tensor], weights: Sequence[float]
) -> tuple[list[float], torch.Tensor]:
    """Return the divergences of decisions, and a scalar with the gradient of their weighted sum.

    The gradient of D = sum_a p(a) (log p(a) - log q(a)) is the sum over a of
    p(a) (log p(a) - log q(a) - D) d log p(a). Written so, it is exactly 0 where the distributions
    are equal: autograd's would be the rounding error, and Adam makes a full step of any gradient.

    Args:
        own: log-probabilities of each decision, with gradients.
        other: the teacher's.
        weights: of the decisions.
    """
    import torch

    divergences = [0.0] * len(own)
    alike: dict[int, list[int]] = {}
    for index, logprobs in enumerate(own):
        alike.setdefault(len(logprobs), []).append(index)
    loss = own[0].new_zeros(())
    for indices in alike.values():
        rows = torch.stack([own[index] for index in indices])
        with torch.no_grad():
            p = rows.exp()
            ratio = rows - torch.stack([other[index] for index in indices])
            divergence = (p * ratio).sum(-1, keepdim=True)
            weight = torch.tensor([[weights[index]] for index in indices], device=rows.device)
            factor = weight * p * (ratio - divergence)
        loss = loss + (factor * rows).sum()
        for index, value in zip(indices, divergence[:, 0].tolist(), strict=True):
            divergences[index] = value
    return divergences, loss


def _chunks(
    episodes: Sequence[Episode], indices: Sequence[int], vocabulary: int
) -> Iterator[list[int]]:
    """Divide episodes so that the distributions of a chunk have at most about MAX_VALUES values."""
    chunk: list[int] = []
    size = 0
    for index in indices:
        values = sum(
            len(turn.written) * vocabulary if turn.choices is None else len(turn.choices)
            for turn in episodes[index].turns
        )
        if chunk and size + values > MAX_VALUES:
            yield chunk
            chunk, size = [], 0
        chunk.append(index)
        size += values
    if chunk:
        yield chunk
