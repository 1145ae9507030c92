"""Objectives: how a stage learns; GRPO, unless its `learn` names another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from contrail.adapter import Adapter
from contrail.environment import NoConfig, Task
from contrail.episode import Episode
from contrail.training.scalars import Scalars

if TYPE_CHECKING:
    import torch

    from contrail.training.decisions import Decisions
    from contrail.training.learner import Learner

Groups = Sequence[Sequence[Episode]]
"""Episodes, grouped by task."""
Moves = Sequence[tuple[str, str | None]]
"""Actions, each with the words in which the model is to take it, or None for the adapter's own."""


class StageTasks(Protocol):
    """The members of a stage (`contrail.Stage`) that an objective may read."""

    name: str
    tasks: dict[str, Sequence[Task]]
    """By environment; `begin` may take tasks out."""
    adapters: dict[str, Adapter]
    """By environment."""

    @property
    def environments(self) -> list[str]:
        """The environments of the tasks."""


class Play(Protocol):
    """Plays tasks of a stage through its adapters."""

    def __call__(self, tasks: Sequence[Task], samples: int) -> list[list[Episode]]:
        """Return `samples` episodes of each task, played by the policy."""
        ...

    def demonstrations(
        self,
        tasks: Sequence[Task],
        scripts: Mapping[Task, Sequence[Moves]] | None = None,
    ) -> list[Episode]:
        """Return an episode of each task, played without the model; see its `success`.

        Args:
            tasks: to play.
            scripts: for each task the moves of one or several plays, of which one is drawn. Without
                scripts the environment's expert plays.
        """
        ...


@dataclass
class Batch:
    """The episodes of one optimizer step."""

    episodes: Sequence[Episode]
    weights: torch.Tensor
    """A weight per episode, (episodes,), or per decision, (episodes, longest). GRPO's are its
    advantages; all 0: there is nothing to learn."""
    off_policy: bool
    """Whether the policy may have changed since the episodes were played."""
    decisions: int
    """The number of decisions of the whole update, of which this is a part."""
    reference: torch.Tensor | None = None
    """Log-probabilities under a reference policy, (episodes, longest), if the objective has one."""

    @classmethod
    def of(
        cls, episodes: Sequence[Episode], weights: torch.Tensor, off_policy: bool = False
    ) -> Batch:
        """A batch that is a whole update."""
        decisions = sum(sum(episode.learnt) for episode in episodes)
        return cls(episodes, weights, off_policy, decisions)


class Objective(ABC, Scalars):
    """Subclass it and register the class with the hook `contrail_objectives`.

    The learner makes the optimizer steps. In each it scores a batch in slices, and asks for the
    loss of the whole batch once per slice: the slice's decisions have gradients, those of the
    others are constants.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the objective's keys in stream.yaml."""

    has_advantages: bool = False
    """Whether advantages weigh its episodes, so that bonuses and KL terms of strategies act."""

    needs_expert: bool = False
    """Whether it learns from the environments' own experts."""

    learning_rate: float | None = None
    """Of its stages; None for `grpo.learning_rate`."""

    named: Collection[str] = ()
    """Environments that its settings name: refused if the run has none of that name."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def begin(self, learner: Learner, stage: StageTasks) -> None:
        """Prepare for a stage. Called once per process for each stage, before anything is written.

        Raises:
            ConfigError: the objective does not fit the stage. Its key is one of the objective's.
        """

    def replay(self, learner: Learner, stage: StageTasks) -> None:
        """Prepare for the tasks of an earlier stage, which the strategy plays again in the stages
        that `begin` was called for. Called likewise; it must take no task out.

        Raises:
            ConfigError: the objective cannot learn from them. Its key is one of the objective's.
        """

    def notes(
        self, taught: Sequence[str], environments: Mapping[str, Mapping[str, Any]]
    ) -> Sequence[str]:
        """Return what the user should know of the objective in this run. Called after `begin` and
        `replay`.

        Args:
            taught: the environments whose tasks it learns from in the stage.
            environments: all that the run trains on, by label, with their keys in config.yaml.

        Raises:
            ConfigError: the objective does not fit them. Its key is one of the objective's.
        """
        return ()

    def samples(self, learner: Learner) -> int:
        """Return the number of episodes of each task in an update, a divisor of the update's
        episodes."""
        return learner.group_size

    def episodes(self, learner: Learner, tasks: Sequence[Task], play: Play) -> list[list[Episode]]:
        """Return the episodes of an update, by default a group per task, played by the policy.

        Raises:
            ContrailError: there is nothing to learn from in any of the tasks.
        """
        return play(tasks, self.samples(learner))

    @abstractmethod
    def weights(
        self, learner: Learner, groups: Groups, minibatches: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """Return the weights of the episodes of each minibatch, or of their decisions.

        Args:
            learner: that asks.
            groups: episodes without faults.
            minibatches: indices of the groups' episodes, laid end to end.
        """

    def start(self, learner: Learner) -> None:
        """Start a stage, before its first update or before `load_state_dict`."""

    def backward(self, learner: Learner, batch: Batch) -> float:
        """Add the gradients of a batch's loss to the policy's parameters; return the loss.

        By default the scorer's slices are scored one at a time, and `loss` is asked for each.
        """
        return learner.gradients(batch, self)

    def needed(self, learner: Learner, batch: Batch) -> list[int]:
        """Return the indices of the episodes that must be scored with gradients."""
        return [index for index, weight in enumerate(batch.weights) if bool(weight.any())]

    def sequence_level(self, learner: Learner) -> bool:
        """Return whether the term of one decision in the loss depends on the log-probabilities or
        entropies of others.

        Then a batch of an older policy's episodes is scored once more, if one of them is too long
        for a slice: the decisions outside a slice must be the present policy's, too. It costs a
        forward of all episodes. Return False if the loss is a sum over decisions, with weights that
        are known beforehand.
        """
        return True

    def reference(self, learner: Learner, batch: Batch) -> torch.Tensor | None:
        """Return log-probabilities under a reference policy, (episodes, longest), or None.

        They become `batch.reference`, for the loss.
        """
        return None

    @abstractmethod
    def loss(
        self, learner: Learner, decisions: Decisions, recorded: Decisions, batch: Batch, final: bool
    ) -> torch.Tensor:
        """Return the loss of a batch.

        Args:
            learner: that asks.
            decisions: under the present policy.
            recorded: as the policy that played made them.
            batch: that they are of.
            final: whether the batch has no further slice; log then, if at all.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive an interruption within a stage: JSON values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Not called if that was empty."""
