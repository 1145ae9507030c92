"""The base class of objectives that wrap another one, as a strategy may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from contrail.environment import Task
from contrail.episode import Episode
from contrail.training.asked import ask, loss_of, weights_of
from contrail.training.objective import Batch, Groups, Objective, Play, StageTasks

if TYPE_CHECKING:
    import torch

    from contrail.training.decisions import Decisions
    from contrail.training.learner import Learner


class ObjectiveWrapper(Objective):
    """Subclass it, and return an instance from `Strategy.objective`.

    Every method asks the wrapped objective; override what differs, and ask `super()` for what that
    one would do. So the errors of a plugin's objective carry its name, and what it returns is
    checked, as without a wrapper.
    """

    def __init__(self, wrapped: Objective) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.has_advantages = wrapped.has_advantages
        self.learning_rate = wrapped.learning_rate
        self.needs_expert = wrapped.needs_expert
        self.named = wrapped.named

    def begin(self, learner: Learner, stage: StageTasks) -> None:
        ask(self.wrapped, "begin", learner, stage)

    def replay(self, learner: Learner, stage: StageTasks) -> None:
        ask(self.wrapped, "replay", learner, stage)

    def notes(
        self, taught: Sequence[str], environments: Mapping[str, Mapping[str, Any]]
    ) -> Sequence[str]:
        found: Sequence[str] = ask(self.wrapped, "notes", taught, environments)
        return found

    def samples(self, learner: Learner) -> int:
        return int(ask(self.wrapped, "samples", learner))

    def episodes(self, learner: Learner, tasks: Sequence[Task], play: Play) -> list[list[Episode]]:
        found: list[list[Episode]] = ask(self.wrapped, "episodes", learner, tasks, play)
        return found

    def weights(
        self, learner: Learner, groups: Groups, minibatches: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        return weights_of(self.wrapped, learner, groups, minibatches)

    def start(self, learner: Learner) -> None:
        ask(self.wrapped, "start", learner)

    def backward(self, learner: Learner, batch: Batch) -> float:
        return float(ask(self.wrapped, "backward", learner, batch))

    def needed(self, learner: Learner, batch: Batch) -> list[int]:
        found: list[int] = ask(self.wrapped, "needed", learner, batch)
        return found

    def sequence_level(self, learner: Learner) -> bool:
        return bool(ask(self.wrapped, "sequence_level", learner))

    def reference(self, learner: Learner, batch: Batch) -> torch.Tensor | None:
        found: torch.Tensor | None = ask(self.wrapped, "reference", learner, batch)
        return found

    def loss(
        self, learner: Learner, decisions: Decisions, recorded: Decisions, batch: Batch, final: bool
    ) -> torch.Tensor:
        return loss_of(self.wrapped, learner, decisions, recorded, batch, final)

    def take_logged(self) -> dict[str, float]:
        return {**self.wrapped.take_logged(), **super().take_logged()}

    def state_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = ask(self.wrapped, "state_dict")
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        ask(self.wrapped, "load_state_dict", state)
