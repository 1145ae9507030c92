"""The strategy `dark-replay`: what was decided before is to be as probable as it was then.

Dark experience replay (arXiv:2004.07211) for a policy: a reservoir holds episodes with the
log-probabilities of their decisions at the time, and the loss has the squared distance to these.
Unlike replay of successes it says nothing of what is right: it holds the old policy where that has
been.
"""

from dataclasses import asdict, dataclass, field

import torch

import contrail


@dataclass
class DarkReplayConfig:
    """The keys of dark-replay in stream.yaml."""

    buffer: int = field(default=64, metadata={"min": 1})
    """The largest number of episodes in the reservoir."""
    fraction: float = field(default=0.25, metadata={"min": 0, "max": 1})
    """The number of stored episodes per played episode of an optimizer step."""
    weight: float = field(default=0.5, metadata={"min": 0})
    """The weight of the mean squared distance between log-probabilities."""


class DarkReplay(contrail.Strategy):
    """Holds the log-probabilities of past decisions."""

    Config = DarkReplayConfig
    starts_at = 1  # it stores episodes of the first stage, though it learns from none there

    def __init__(self, config=None):
        super().__init__(config)
        self.stored = []
        self.offered = 0
        self.old = []

    def begin(self, learner, stages):
        self.all_stages = list(stages)

    def enter(self, context, resumed):
        past = [
            name for stage in self.all_stages[: context.number - 1] for name in stage.environments
        ]
        self.old = [name for name in dict.fromkeys(past) if name not in context.stage.environments]

    def observe(self, stage, episodes, rng):
        """Reservoir sampling: every episode so far is stored with the same probability."""
        for episode in episodes:
            if episode.fault is not None or not episode.turns:
                continue
            self.offered += 1
            if len(self.stored) < self.config.buffer:
                self.stored.append(episode)
            elif (place := int(rng.integers(self.offered))) < self.config.buffer:
                self.stored[place] = episode

    def penalty(self, learner, episodes, rng):
        held = [episode for episode in self.stored if episode.environment in self.old]
        count = min(len(held), round(self.config.fraction * len(episodes)))
        chosen = [held[place] for place in rng.permutation(len(held))[:count]]
        decisions = sum(len(episode.logprobs) for episode in chosen)
        for episode in chosen:
            before = torch.tensor(episode.logprobs)
            place = 0
            for part in learner.score([episode]):
                now = torch.cat([scores.logprobs for scores in part])
                distance = now - before[place : place + len(now)].to(now)
                place += len(now)
                yield self.config.weight / decisions * distance.square().sum()

    def state_dict(self):
        return {"offered": self.offered, "stored": [asdict(episode) for episode in self.stored]}

    def load_state_dict(self, state):
        self.offered = state["offered"]
        self.stored = [contrail.Episode.from_dict(values) for values in state["stored"]]


@contrail.hookimpl
def contrail_strategies(register):
    register("dark-replay", DarkReplay)
