"""Continual strategies: what to train on, and how to protect earlier stages.

Strategy authors subclass `Strategy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from contrail.environment import NoConfig, Task
from contrail.training.scalars import Scalars

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail.episode import Episode
    from contrail.model.policy import Policy
    from contrail.stage import Stage
    from contrail.training.learner import Learner
    from contrail.training.objective import Groups, Objective


NOTHING_YET = "sequential"
"""The cache key of a strategy that has neither done nor kept anything of its own yet."""


@dataclass(frozen=True)
class StageContext:
    """The members of a run that a strategy may use at the beginning and at the end of a stage."""

    stage: Stage
    """The stage."""
    number: int
    """Its number, counted from 1."""
    policy: Policy
    """The policy in training; `policy.load(snapshot)` changes it for good."""
    learner: Learner
    """The learner, with the policy's optimizer."""
    seed: int
    """The run's seed: derive generators from it with `contrail.generator`."""
    play: Callable[[Sequence[Task], int, str], list[list[Episode]]]
    """`play(tasks, samples, name)` returns `samples` episodes of each task, played by the policy.

    They count as extra episodes in the budget. `name` names the randomness: another name gives
    other episodes.
    """


class Strategy(Scalars):
    """A continual strategy. This one trains each stage on its own tasks, in the stream's order.

    The methods stand in the order in which a run calls them.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the strategy's keys in stream.yaml."""

    exclusive: str = ""
    """If not empty, why this strategy cannot be combined with others; shown to the user."""

    restarts: bool = False
    """Whether every stage begins with the model before any training: R is a transfer matrix."""

    branches: bool = False
    """Whether what a stage trains becomes part of the agent only at the end of the stage. Until
    then learning curves show the stage's own environments alone."""

    NEVER: ClassVar[float] = math.inf

    starts_at: float | None = None
    """The first stage, counted from 1, in which the strategy differs from `sequential`.

    None if its behaviour may depend on later stages; `Strategy.NEVER` if it never differs.
    """

    replays: bool = False
    """Whether `draw` returns tasks of earlier stages too, which the stage's objective learns."""

    scheduled: bool = False
    """Whether what it does in a stage depends on how many updates the stage has.

    Then a stage that has ended cannot be given further ones.
    """

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def stages(self, stages: Sequence[Stage]) -> Sequence[Stage]:
        """Return the stages to train, made of those of the stream."""
        return stages

    def cache_key(self, stages: int) -> str | None:
        """Key of the result of the first `stages` stages; None: never share.

        A comparison copies checkpoints between runs whose keys agree. By default the key is the
        class with its settings, from the stage `starts_at` on.
        """
        if self.starts_at is None:
            return None
        if stages < self.starts_at:
            return NOTHING_YET
        return f"{type(self).__module__}.{type(self).__qualname__} {self.config}"

    def objective(self, stage: Stage, objective: Objective) -> Objective:
        """Return what a stage learns by: the objective, or one that wraps it.

        Called once per process for each stage, before `Objective.begin`.
        """
        return objective

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        """Prepare for a run. Called once per process, with the policy before any training.

        Raises:
            ConfigError: the strategy does not fit this run. Nothing has been written yet.
        """

    def enter(self, context: StageContext, resumed: bool) -> None:
        """Begin a stage.

        Args:
            context: of the stage.
            resumed: whether the run goes on inside the stage after an interruption. The policy's
                weights and the strategy's state are those of the checkpoint then.
        """

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> Sequence[Task]:
        """Return the tasks of one update.

        Args:
            stage: the present stage.
            update: number of the update within the stage: 0 in the first one of each stage, and
                `stage.updates` - 1 in the last.
            count: number of tasks to return.
            rng: the only source of randomness to use; it is the same when an update is repeated.
        """
        return stage.sample(count, rng)

    def observe(
        self, stage: Stage, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> None:
        """Look at the episodes of an update before the policy learns from them."""

    def bonus(self, learner: Learner, groups: Groups) -> Sequence[float]:
        """Return what to add to the advantage of each episode, group after group; () for nothing.

        It is called once an update, before the policy learns, and only by objectives that compare
        episodes of a group, as GRPO does. A group is of episodes that played the same task.
        """
        return ()

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterable[torch.Tensor]:
        """Return scalars to add to the loss of an optimizer step on `episodes`.

        Each is differentiated before the next is computed: a generator that yields one per batch
        of `learner.score(...)` needs the memory of one batch.
        """
        return ()

    def leave(self, context: StageContext) -> None:
        """End a stage, after its last update and before the evaluation."""

    def evaluating(self, policy: Policy, environment: str) -> AbstractContextManager[None]:
        """Return a context manager around the evaluation of one environment.

        It may change the policy, and must restore it. `contrail eval` of a run calls it after
        `load_state_dict` alone, without `begin` and `enter`.
        """
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return all that must survive an interruption, at any update: JSON values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put what `state_dict` returned in the place of what is there; a process may do so more
        than once. Not called if it was empty."""
