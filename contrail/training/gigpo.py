"""The objective `gigpo`: GRPO, with advantages of turns beside those of episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from contrail.episode import Episode
from contrail.training.grpo import GRPO
from contrail.training.objective import Groups

if TYPE_CHECKING:
    import torch

    from contrail.training.learner import Learner


@dataclass
class GiGPOConfig:
    """The keys of gigpo in stream.yaml."""

    omega: float = field(default=1.0, metadata={"min": 0})
    """The weight of a turn's advantage beside that of its episode."""
    gamma: float = field(default=0.95, metadata={"min": 0, "max": 1})
    """The discount factor of the rewards after a turn: below 1, a reward that comes sooner is worth
    more."""
    anchor: Literal["history", "observation"] = "history"
    """What two turns of a group must share to be compared: all observations and actions so far, or
    the observation alone (after a malformed answer also the one before it)."""


class GiGPO(GRPO):
    """Group-in-group policy optimisation (arXiv:2505.10978).

    The advantage of a decision is that of its episode, as in GRPO, plus omega times that of its
    turn: the discounted return from the turn on, compared with those of the turns of the group that
    have the same anchor. Both are divided as `grpo.scale_rewards` says; a group of turns takes the
    place of the group. A turn that shares its anchor with no other has no advantage of its own.
    """

    Config = GiGPOConfig

    def advantages(self, learner: Learner, groups: Groups) -> torch.Tensor:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        from contrail.training.advantages import step_advantages

        of_episodes = super().advantages(learner, groups)
        episodes = [episode for group in groups for episode in group]
        anchors = histories if self.config.anchor == "history" else observations
        scale = learner.config.scale_rewards
        rows = [
            torch.tensor(
                [
                    value
                    for turn, value in zip(episode.turns, values, strict=True)
                    for _ in turn.logprobs
                ]
            )
            for episode, values in zip(
                episodes, step_advantages(groups, anchors, self.config.gamma, scale), strict=True
            )
        ]
        omega: float = self.config.omega
        return of_episodes[:, None] + omega * pad_sequence(rows, batch_first=True)


def observations(episode: Episode) -> Sequence[tuple[str, ...]]:
    """Return what each turn of an episode has observed.

    After an answer without an action the environment is where it was, and the adapter's message
    says nothing of it: both are observed then.
    """
    found: list[tuple[str, ...]] = []
    for number, turn in enumerate(episode.turns):
        stays = number > 0 and episode.turns[number - 1].action is None
        found.append((*found[-1], turn.observation) if stays else (turn.observation,))
    return found


def histories(episode: Episode) -> Sequence[tuple[str | None, ...]]:
    """Return all observations and actions of an episode up to the observation of each turn.

    The model's texts are left out: the same actions lead to the same state, whatever the thoughts.
    """
    found: list[tuple[str | None, ...]] = []
    before: tuple[str | None, ...] = ()
    for turn in episode.turns:
        before = (*before, turn.observation)
        found.append(before)
        before = (*before, turn.action)
    return found
