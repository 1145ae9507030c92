"""The objective `grpo`: TRL's losses, with advantages within groups of the same task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from contrail.training.objective import Batch, Groups, Objective

if TYPE_CHECKING:
    import torch

    from contrail.training.decisions import Decisions
    from contrail.training.learner import Learner


class GRPO(Objective):
    """Group relative policy optimisation (arXiv:2402.03300), with the settings under `grpo`."""

    def weights(
        self, learner: Learner, groups: Groups, minibatches: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        import torch

        from contrail.training.advantages import environment_weights, group_advantages
        from contrail.training.trl_loss import BY_EPISODE, BY_MINIBATCH

        episodes = [episode for group in groups for episode in group]
        if not episodes:
            return [torch.zeros(0) for _ in minibatches]
        loss_type = learner.config.loss_type
        advantages = torch.tensor(group_advantages(groups, learner.config.scale_rewards))
        weighed = learner.by_environment and loss_type not in BY_EPISODE
        if weighed and loss_type not in BY_MINIBATCH:
            advantages = advantages * torch.tensor(environment_weights(episodes))
        parts = [advantages[list(indices)] for indices in minibatches]
        if weighed and loss_type in BY_MINIBATCH:
            for indices, part in zip(minibatches, parts, strict=True):
                part *= torch.tensor(environment_weights([episodes[index] for index in indices]))
        return parts

    def needed(self, learner: Learner, batch: Batch) -> list[int]:
        if learner.beta != 0.0 or learner.with_entropy:
            return list(range(len(batch.episodes)))
        return super().needed(learner, batch)

    def reference(self, learner: Learner, batch: Batch) -> torch.Tensor | None:
        return learner.reference(batch.episodes) if learner.beta != 0.0 else None

    def loss(
        self, learner: Learner, decisions: Decisions, recorded: Decisions, batch: Batch, final: bool
    ) -> torch.Tensor:
        import torch

        device = decisions.logprobs.device
        return learner.trl.loss(
            decisions,
            batch.weights.to(device),
            recorded.logprobs if batch.off_policy else None,
            batch.reference,
            torch.tensor(float(batch.decisions), device=device),
            final=final,
        )
