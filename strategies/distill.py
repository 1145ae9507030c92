"""The strategy `distill`: old tasks are learnt from the policy that had just learnt them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import contrail

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail import Batch, Episode, Learner, Stage, StageContext


@dataclass
class DistillConfig:
    """The keys of distill in stream.yaml."""

    fraction: float = field(default=0.5, metadata={"min": 0, "max": 1})
    """The fraction of old tasks among the tasks of an update."""
    weight: float = field(default=1.0, metadata={"min": 0})
    """The weight of the divergence from the teachers, in nats per decision, beside the stage's own
    loss."""


class Distill(contrail.Strategy):
    """Old tasks take the place of new ones within the update, as with `replay`, but no reward
    teaches them: the teacher of each is the policy at the end of that environment's stage, a
    snapshot of the LoRA, and the loss is the reverse KL divergence to it at the policy's own
    decisions (on-policy distillation, arXiv:2306.13649, arXiv:2606.30406).

    Old environments have equal shares. The snapshots, one for each earlier stage, are in memory and
    in the checkpoints.
    """

    Config = DistillConfig
    starts_at = 2

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.snapshots: dict[str, dict[str, torch.Tensor]] = {}
        self.teachers: dict[str, contrail.Teacher] = {}
        """Of the environments of earlier stages that are not of this one."""
        self._tasks: dict[str, dict[contrail.Task, None]] = {}

    def begin(self, learner: Learner, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)

    def objective(self, stage: Stage, objective: contrail.Objective) -> contrail.Objective:
        return Beside(objective, self)

    def enter(self, context: StageContext, resumed: bool) -> None:
        past = [stage for stage in self._stages[: context.number - 1] if stage.updates]
        if past and past[-1] is self._stages[context.number - 2] and not resumed:
            learnt = context.policy.snapshot()
            self.snapshots.update(dict.fromkeys(past[-1].environments, learnt))
        self._tasks = {}
        for stage in past:
            for name, tasks in stage.tasks.items():
                if name not in context.stage.environments:
                    self._tasks.setdefault(name, {}).update(dict.fromkeys(tasks))
        self.teachers = {
            name: contrail.Teacher.of(context.policy, self.snapshots[name]) for name in self._tasks
        }

    def draw(
        self, stage: Stage, update: int, count: int, rng: numpy.random.Generator
    ) -> list[contrail.Task]:
        old = int(self.config.fraction * count + rng.random()) if self._tasks else 0
        tasks = stage.sample(count - old, rng)
        names = [list(self._tasks)[place] for place in rng.permutation(len(self._tasks))]
        for place, name in enumerate(names):
            part = len(range(place, old, len(names)))
            tasks += contrail.draw_tasks(list(self._tasks[name]), part, rng)
        return tasks

    def state_dict(self) -> dict[str, Any]:
        return {"snapshots": self.snapshots} if self.snapshots else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.snapshots = state["snapshots"]


class Teaching(contrail.Distillation):
    """Old episodes learn from the teachers of the strategy."""

    def __init__(self, strategy: Distill) -> None:
        super().__init__()
        self._strategy = strategy

    def teacher(self, learner: Learner, environment: str) -> contrail.Teacher:
        return self._strategy.teachers[environment]


class Beside(contrail.ObjectiveWrapper):
    """Learns from new episodes by the stage's own objective, and from old ones by `Teaching`.

    The losses of the two are weighed by their shares of the episodes.
    """

    def __init__(self, own: contrail.Objective, strategy: Distill) -> None:
        super().__init__(own)
        self._strategy = strategy
        self._teaching = Teaching(strategy)
        self._decisions = 0  # of the new episodes of the update

    def episodes(
        self, learner: Learner, tasks: Sequence[contrail.Task], play: contrail.Play
    ) -> list[list[Episode]]:
        old = [task for task in tasks if task.environment in self._strategy.teachers]
        if not old:
            return super().episodes(learner, tasks, play)
        together = Together(play, old)
        new = [task for task in tasks if task.environment not in self._strategy.teachers]
        groups = super().episodes(learner, new, together) if new else []
        if together.old is None:
            together.old = play(old, self.samples(learner))
        return [*groups, *together.old]

    def weights(
        self,
        learner: Learner,
        groups: Sequence[Sequence[Episode]],
        minibatches: Sequence[Sequence[int]],
    ) -> list[torch.Tensor]:
        import torch

        new = [group for group in groups if not self._is_old(group[0])]
        self._decisions = sum(sum(episode.learnt) for group in new for episode in group)
        old = [self._is_old(episode) for group in groups for episode in group]
        if not any(old):
            return super().weights(learner, groups, minibatches)
        number = numbers(old)
        parts = [[number[i] for i in part if not old[i]] for part in minibatches]
        asked = super().weights(learner, new, [part for part in parts if part])
        of_new = [asked.pop(0) if part else torch.zeros(0) for part in parts]
        of_old = self._teaching.weights(
            learner,
            [group for group in groups if self._is_old(group[0])],
            [[number[i] for i in part if old[i]] for part in minibatches],
        )
        lengths = [len(episode.logprobs) for group in groups for episode in group]
        found = []
        for part, one, other in zip(minibatches, of_new, of_old, strict=True):
            places = torch.tensor([old[i] for i in part], dtype=torch.bool)
            taught = other * self._strategy.config.weight
            if one.dim() == 1:
                weights = torch.zeros(len(part))
            else:  # a weight per decision
                weights = torch.zeros(len(part), max((lengths[i] for i in part), default=0))
                one = torch.nn.functional.pad(one, (0, weights.shape[1] - one.shape[1]))
                taught = taught.unsqueeze(1)
            weights[~places], weights[places] = one, taught
            found.append(weights)
        return found

    def backward(self, learner: Learner, batch: Batch) -> float:
        old = [index for index, item in enumerate(batch.episodes) if self._is_old(item)]
        if not old:
            return super().backward(learner, batch)
        share = len(old) / len(batch.episodes)
        loss = 0.0
        new = [index for index, item in enumerate(batch.episodes) if not self._is_old(item)]
        if new and bool(batch.weights[new].any()):
            episodes = [batch.episodes[index] for index in new]
            longest = max(len(episode.logprobs) for episode in episodes)
            part = contrail.Batch(
                episodes,
                batch.weights[new][:, :longest] if batch.weights.dim() > 1 else batch.weights[new],
                batch.off_policy,
                self._decisions,
            )
            loss += (1 - share) * super().backward(learner, part)
            for parameter in learner.policy.parameters.values():
                if parameter.grad is not None:
                    parameter.grad *= 1 - share
        weights = batch.weights[old].reshape(len(old), -1).amax(1)  # 0 where left out
        taught = contrail.Batch.of([batch.episodes[index] for index in old], share * weights)
        return loss + self._teaching.backward(learner, taught)

    def take_logged(self) -> dict[str, float]:
        return {**super().take_logged(), **self._teaching.take_logged()}

    def _is_old(self, episode: Episode) -> bool:
        return episode.environment in self._strategy.teachers


class Together:
    """Plays old tasks in the same rollout as the first tasks that an objective has played."""

    def __init__(self, play: contrail.Play, tasks: Sequence[contrail.Task]) -> None:
        self._play = play
        self._tasks = tasks
        self.old: list[list[Episode]] | None = None

    def __call__(self, tasks: Sequence[contrail.Task], samples: int) -> list[list[Episode]]:
        if self.old is not None:
            return self._play(tasks, samples)
        groups = self._play([*tasks, *self._tasks], samples)
        self.old = groups[len(tasks) :]
        return groups[: len(tasks)]

    def demonstrations(self, *arguments: Any, **named: Any) -> list[Episode]:
        return self._play.demonstrations(*arguments, **named)


def numbers(old: Sequence[bool]) -> list[int]:
    """Return the number of each episode among those of its kind."""
    seen = {True: 0, False: 0}
    found = []
    for kind in old:
        found.append(seen[kind])
        seen[kind] += 1
    return found


@contrail.hookimpl
def contrail_strategies(register: Callable[[str, type[contrail.Strategy]], None]) -> None:
    register("distill", Distill)
