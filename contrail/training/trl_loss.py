"""TRL's GRPO losses, of log-probabilities that are handed in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from trl import GRPOConfig, GRPOTrainer

from contrail.training.decisions import Decisions

# TRL's losses that are sums over episodes, each the mean of its decisions; in the others every
# decision counts alike. BNPO divides by the decisions of a minibatch, not of the batch.
BY_EPISODE = ("grpo", "sapo")
BY_MINIBATCH = ("bnpo",)


def sequence_level(config: GRPOConfig) -> bool:
    """Return whether decisions weigh on one another in TRL's loss: see `Objective`."""
    return (
        config.importance_sampling_level == "sequence"
        or config.loss_type == "vespo"
        or config.off_policy_mask_threshold is not None
        or config.top_entropy_quantile < 1.0
    )


class Loss(GRPOTrainer):
    """TRL's trainer, for its loss alone: the log-probabilities are handed in, not computed."""

    decisions: Decisions

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # A mixture's loss for balancing its experts is of all tokens of a batch, with the prompts
        # as often as they occur; here decisions alone are scored, and prompts are shared.
        self.aux_loss_enabled = False

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        return self.decisions.logprobs, self.decisions.entropies, None

    def loss(
        self,
        decisions: Decisions,
        advantages: torch.Tensor,
        old_logprobs: torch.Tensor | None,
        reference_logprobs: torch.Tensor | None,
        decisions_in_batch: torch.Tensor,
        final: bool,
    ) -> torch.Tensor:
        """Return the loss of TRL's configured type; all tensors are (episodes, …).

        Unless `final`, TRL neither logs it nor adapts its entropy coefficient to it.
        """
        self.decisions = decisions
        # TRL reads here whether it trains. The modules below stay in evaluation mode.
        self.model.training = True  # type: ignore[union-attr]
        self.accelerator.sync_gradients = final
        logged = {name: len(values) for name, values in self._metrics["train"].items()}
        nothing = torch.zeros_like(decisions.mask[:, :1])
        loss: torch.Tensor = self._compute_loss(  # type: ignore[no-untyped-call]
            self.model,
            {
                "prompt_ids": nothing,
                "prompt_mask": nothing,
                "completion_ids": torch.zeros_like(decisions.mask),
                "completion_mask": decisions.mask,
                "advantages": advantages,
                "old_per_token_logps": old_logprobs,
                "ref_per_token_logps": reference_logprobs,
                "num_items_in_batch": decisions_in_batch,
            },
        )
        if not final:
            for name, values in self._metrics["train"].items():
                del values[logged.get(name, 0) :]
        return loss

    def take_metrics(self) -> dict[str, float]:
        """Return the means of TRL's logged metrics since the last call."""
        metrics = self._metrics["train"]
        taken = {name: sum(values) / len(values) for name, values in metrics.items() if values}
        metrics.clear()
        return taken


def no_reward(*args: Any, **kwargs: Any) -> list[float | None]:
    """Return a reward function for TRL's trainer, which must be given one."""
    raise AssertionError("rewards come from the environments")


@contextmanager
def global_random_state_kept() -> Iterator[None]:
    """TRL seeds every global generator when it is made; a library must not."""
    state, numpy_state = random.getstate(), numpy.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(state)
            numpy.random.set_state(numpy_state)  # noqa: NPY002
