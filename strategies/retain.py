"""The strategy `retain`: of equally good episodes, those near the old policy are preferred."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import contrail
from contrail.strategies._shared import Anchored, refuse_without_advantages

if TYPE_CHECKING:
    from contrail import Episode, Learner, Stage


@dataclass
class RetainConfig:
    """The keys of retain in stream.yaml."""

    weight: float = field(default=1.0, metadata={"min": 0})
    """The weight of the retention reward, beside advantages."""
    scale: float = field(default=1.0, metadata={"min": 0.0001})
    """The drift, in nats per decision, with which the retention reward has fallen to 1/e."""


class Retain(Anchored):
    """A retention reward for episodes that the policy of the previous stage might have played.

    The reward of an episode is exp(-D / scale), rounded to 0.01. Its drift D estimates the KL
    divergence from the policy of the previous stage: the mean over its decisions of e^d - d - 1,
    with d the log-probability under that policy minus the one under the acting policy. Weight times
    the reward's difference to its group's mean is added to the advantage of the episode. The first
    stage has no such term.

    It is the retention reward of RaPO (arXiv:2605.09640), as its abstract has it: the drift of
    trajectories from the preceding policy becomes a reward that ranks the episodes of a group. The
    formula is ours. RaPO's normalisation of advantages across tasks is left out; here the
    retention reward is added after advantages are scaled, so that a small drift stays small.
    """

    Config = RetainConfig

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        refuse_without_advantages("retain", stages)

    def bonus(self, learner: Learner, groups: Sequence[Sequence[Episode]]) -> Sequence[float]:
        if not self._anchor or not self.config.weight:
            return ()
        episodes = [episode for group in groups for episode in group]
        old = learner.reference(episodes, self._anchor).tolist()
        rewards = []
        for episode, row in zip(episodes, old, strict=True):
            drift = drift_of(episode.logprobs, row)
            self.log("drift", drift)
            # Rounded: noise in the last digits of log-probabilities must not become an advantage.
            rewards.append(round(math.exp(-drift / self.config.scale), 2))
        added: list[float] = []
        for group in groups:
            own = rewards[len(added) : len(added) + len(group)]
            equal = len(set(own)) < 2  # the mean of equal numbers need not be that number
            mean = sum(own) / len(own)
            added += [0.0 if equal else self.config.weight * (value - mean) for value in own]
        return added


def drift_of(acting: Sequence[float], old: Sequence[float]) -> float:
    """Return the mean of e^d - d - 1 over decisions, d = old - acting; `old` may be padded."""
    differences = [before - now for now, before in zip(acting, old, strict=False)]
    return sum(math.expm1(min(d, 50.0)) - d for d in differences) / len(differences)


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("retain", Retain)
