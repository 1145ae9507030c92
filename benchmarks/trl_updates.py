"""TRL's gradients of recorded episodes, from its own loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contrail.episode import Episode
from contrail.model.policy import Policy

import torch  # isort: skip
from trl import GRPOTrainer  # isort: skip

Row = dict[str, Any]


def batch(episodes: Sequence[Episode], policy: Policy, advantages: torch.Tensor) -> Row:
    """Recorded episodes as TRL pads them: (episodes, longest)."""
    pad = policy.chat.tokenizer.pad_token_id
    starts = [len(episode.turns[0].prompt) for episode in episodes]
    before = max(starts)
    after = max(len(item.token_ids) - start for item, start in zip(episodes, starts, strict=True))

    def padded(values: Callable[[Episode], Sequence[int]], filler: int) -> list[torch.Tensor]:
        left, right = [], []
        for episode, start in zip(episodes, starts, strict=True):
            row = list(values(episode))
            left.append([filler] * (before - start) + row[:start])
            right.append([*row[start:], *[filler] * (after - len(row) + start)])
        return [torch.tensor(part, device=policy.model.device) for part in (left, right)]

    prompt_ids, completion_ids = padded(lambda item: item.token_ids, pad)
    prompt_mask, completion_mask = padded(lambda item: [1] * len(item.token_ids), 0)
    _, tool_mask = padded(lambda item: item.mask, 0)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "tool_mask": tool_mask,
        "advantages": advantages.to(prompt_ids.device),
    }


def gradients(trainer: GRPOTrainer, policy: Policy, whole: Row, size: int) -> float:
    """Add the gradients of TRL's loss, in micro-batches of `size` rows; return the loss."""
    count = len(whole["advantages"])
    trainer.current_gradient_accumulation_steps = count // size
    total = whole["tool_mask"].sum()
    loss = 0.0
    for begin in range(0, count, size):
        part = {name: values[begin : begin + size] for name, values in whole.items()}
        reference = None
        if trainer.beta:
            with torch.no_grad(), policy.model.disable_adapter():
                reference, _, _ = trainer._get_per_token_logps_and_entropies(
                    policy.model,
                    torch.cat([part["prompt_ids"], part["completion_ids"]], 1),
                    torch.cat([part["prompt_mask"], part["completion_mask"]], 1),
                    part["completion_ids"].shape[1],
                )
        part |= {
            "old_per_token_logps": None,
            "ref_per_token_logps": reference,
            "num_items_in_batch": total,
        }
        value = trainer._compute_loss(policy.model, part)  # type: ignore[no-untyped-call]
        value.backward()
        loss += float(value.detach())
    return loss
