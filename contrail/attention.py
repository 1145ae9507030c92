"""Attention over a token tree, for any transformers model that uses its attention interface.

The model runs on one unpadded row of tokens; inside each layer, `tree_attention` lets every token
see its own ancestors only. With a `KeyStore`, keys and values are written in place and read back in
later forwards; without one they live for one forward, and gradients flow through them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from contrail.errors import ContrailError
from contrail.tree import Batch

NAME = "contrail_tree"


class KeyStore:
    """Keys and values of a tree's nodes, by layer and slot; grows by doubling, never shrinks."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def write(
        self, layer: int, slots: torch.Tensor, size: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the keys and values (n, heads, width) of the slots (n,); return the whole store."""
        held = self._layers.get(layer)
        if held is None or held[0].shape[0] < size:
            capacity = max(1024, 1 << (size - 1).bit_length())
            grown = (
                key.new_empty((capacity, *key.shape[1:])),
                value.new_empty((capacity, *value.shape[1:])),
            )
            if held is not None:
                for new, old in zip(grown, held, strict=True):
                    new[: old.shape[0]] = old
            self._layers[layer] = held = grown
        held[0].index_copy_(0, slots, key)
        held[1].index_copy_(0, slots, value)
        return held

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(part.nbytes for layer in self._layers.values() for part in layer)


@dataclass
class _Active:
    batch: Batch
    store: KeyStore | None
    size: int
    masks: dict[tuple[int, torch.dtype], list[torch.Tensor]] = field(default_factory=dict)

    def additive(self, groups: int, dtype: torch.dtype) -> list[torch.Tensor]:
        # The same for all layers, so made once: 0 or -inf for every head that shares a key head.
        made = self.masks.get((groups, dtype))
        if made is None:
            made = []
            for block in self.batch.blocks:
                mask = torch.zeros(block.mask.shape, dtype=dtype, device=block.mask.device)
                mask.masked_fill_(~block.mask, float("-inf"))
                made.append(mask.repeat(1, 1, groups, 1))
            self.masks[groups, dtype] = made
        return made


_active: ContextVar[_Active | None] = ContextVar("contrail_tree_attention", default=None)


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of one layer: (1, heads, n, width) -> (1, n, heads, width)."""
    active = _active.get()
    assert active is not None, "tree attention is called inside `forward` only"
    for unsupported in ("softcap", "s_aux"):
        if kwargs.get(unsupported) is not None:
            raise ContrailError(f"models with attention {unsupported!r} are not supported yet")
    window = kwargs.get("sliding_window")
    if window is not None and int(active.batch.positions.max()) >= window:
        raise ContrailError(
            f"an episode is longer than the model's sliding window of {window} tokens: "
            f"set max_context: {window}"
        )
    key, value = key[0].transpose(0, 1), value[0].transpose(0, 1)
    if active.store is not None:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        key, value = active.store.write(layer, active.batch.slots, active.size, key, value)
    heads, width = key.shape[1:]
    groups = query.shape[1] // heads
    outputs = []
    for block, mask in zip(active.batch.blocks, active.additive(groups, query.dtype), strict=True):
        count, longest = block.queries.shape
        # (1, heads * groups, n, width) -> (S, heads, groups * Q, width): heads that share a key
        # head become more queries of it, and the keys need not be repeated.
        asked = query[0].index_select(1, block.queries.reshape(-1))
        asked = asked.view(heads, groups, count, longest, width).permute(2, 0, 1, 3, 4)
        asked = asked.reshape(count, heads, groups * longest, width)
        keys = key.index_select(0, block.keys).view(count, -1, heads, width).transpose(1, 2)
        values = value.index_select(0, block.keys).view(count, -1, heads, width).transpose(1, 2)
        out = scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scaling)
        out = out.view(count, heads, groups, longest, width).permute(0, 3, 1, 2, 4)
        out = out.reshape(count * longest, heads * groups, width)
        outputs.append(out.index_select(0, block.valid))
    return torch.cat(outputs).unsqueeze(0), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, _no_mask)


@contextmanager
def _tree_attention_on(config: Any) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def forward(
    model: PreTrainedModel,
    batch: Batch,
    keep: torch.Tensor,
    store: KeyStore | None = None,
    size: int = 0,
) -> torch.Tensor:
    """Logits (len(keep), vocabulary) after the rows `keep` of the batch.

    Args:
        model: a causal language model, bare or wrapped by PEFT.
        batch: what to run.
        keep: rows whose next-token logits are wanted; the vocabulary head runs on these only.
        store: where keys and values of earlier forwards are, and those of this one go.
        size: slots the store must have room for.
    """
    token = _active.set(_Active(batch, store, size))
    try:
        with _tree_attention_on(model.config):
            logits: torch.Tensor = model(
                input_ids=batch.tokens.unsqueeze(0),
                position_ids=batch.positions.unsqueeze(0),
                use_cache=False,
                logits_to_keep=keep,
            ).logits
        return logits[0]
    finally:
        _active.reset(token)
