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

    has_advantages = True

    def weights(
        self, learner: Learner, groups: Groups, minibatches: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        import torch

        from contrail.training.advantages import environment_weights
        from contrail.training.trl_loss import BY_EPISODE, BY_MINIBATCH

        episodes = [episode for group in groups for episode in group]
        if not episodes:
            return [torch.zeros(0) for _ in minibatches]
        loss_type = learner.config.loss_type
        advantages = self.advantages(learner, groups)
        weighed = learner.by_environment and loss_type not in BY_EPISODE
        if weighed and loss_type not in BY_MINIBATCH:
            advantages = _times(advantages, environment_weights(episodes))
        parts = []
        for indices in minibatches:
            own = [episodes[index] for index in indices]
            part = advantages[list(indices)]
            if part.dim() > 1:  # as long as the longest of these episodes
                part = part[:, : max((len(episode.logprobs) for episode in own), default=0)]
            if weighed and loss_type in BY_MINIBATCH:
                part = _times(part, environment_weights(own))
            parts.append(part)
        return parts

    def advantages(self, learner: Learner, groups: Groups) -> torch.Tensor:
        """Return an advantage per episode, (episodes,), or per decision, (episodes, longest)."""
        import torch

        from contrail.training.advantages import group_advantages

        advantages = torch.tensor(group_advantages(groups, learner.config.scale_rewards))
        return advantages + torch.tensor(learner.bonus(groups))

    def needed(self, learner: Learner, batch: Batch) -> list[int]:
        if learner.beta != 0.0 or learner.with_entropy:
            return list(range(len(batch.episodes)))
        return super().needed(learner, batch)

    def sequence_level(self, learner: Learner) -> bool:
        from contrail.training.trl_loss import sequence_level

        return sequence_level(learner.config)

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


def _times(advantages: torch.Tensor, factors: Sequence[float]) -> torch.Tensor:
    """Return advantages per episode or per decision, times a factor per episode."""
    column = advantages.new_tensor(factors)
    return advantages * (column if advantages.dim() == 1 else column[:, None])
