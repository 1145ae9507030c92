"""What is trained on, and what protects the old. Strategy authors subclass `Strategy`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from contrail.environment import NoConfig, Task

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail.episode import Episode
    from contrail.stage import Stage
    from contrail.training.learner import Learner


NOTHING_YET = "sequential"
"""The `prefix` of a strategy that has done and kept nothing of its own yet."""


class Strategy:
    """A continual strategy; as it stands, each stage trains on its own tasks in the stream's order.

    The members stand in the order in which they are called. A strategy is also a plugin of the core
    loop: any callback of Avalanche's templates that it defines (`before_training_exp(self, loop)`,
    `after_training_exp(self, loop)`, …) is called; what it changes in `loop.policy` there stays.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the strategy's keys in stream.yaml."""

    exclusive: str = ""
    """Why no other strategy makes sense beside this one; empty where others do."""

    restarts: bool = False
    """Whether every stage begins with the model before any training: R is a transfer matrix."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def stages(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        """The stages to train, made of the stream's stages."""
        return stages

    def cache_key(self, stage: int) -> str | None:
        """A text that stands for what the first `stage` stages make of policy and state.

        Strategies that give the same text do the same up to there, if the stream is the same up to
        there: a comparison computes it once. "sequential" stands for a strategy that has done and
        kept nothing of its own yet. None where nothing can be said, or the stages to come matter.
        """
        return None

    def begin(self, trainer: Learner, stages: Sequence[Stage]) -> None:
        """Once in every process, before anything is written, with the policy as it was at first.

        Raises:
            ConfigError: the strategy does not fit this run.
        """

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> Sequence[Task]:
        """The tasks of one update.

        Args:
            stage: the present stage.
            update: how many updates of the stage have been made.
            count: how many tasks to draw.
            rng: the only source of randomness to use, the same when the update is made again.
        """
        return stage.sample(count, rng)

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        """What was played for an update, before it is learnt from."""

    def penalty(
        self, trainer: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterable[torch.Tensor]:
        """Scalars to add to the loss of an optimizer step on `episodes`.

        Each is differentiated before the next is asked for, so that a generator which yields one
        for each part of `trainer.score(...)` needs the memory of one part.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """All that must survive an interruption between stages: JSON values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state saved by `state_dict`; not called where that was empty."""
