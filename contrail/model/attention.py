"""Attention over unpadded rows of tokens, for any transformers model with an attention interface.

The model runs on one row of tokens from many contexts, so its linear layers do no work on padding.
Which token sees which is a `Layout`'s business: `Packed` for updates, where all keys are of the
same forward and gradients flow, and `contrail.engine.cache.Cached` for rollouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from contrail.errors import ContrailError
from contrail.model.tree import ForwardPlan, Segment

NAME = "contrail"

Keys = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""By layer: keys and values, (n, key heads, width)."""

# Segments are padded to the longest of their block. A block holds at most so many query-key pairs,
# of which at most this share is padding; small blocks may be all padding. On a CPU a call costs
# little beside the pairs: with 0.3 attention was a fifth dearer.
BLOCK_PAIRS = 1 << 21
BLOCK_PADDING = {"cpu": 0.05, "cuda": 0.3}
SMALL_BLOCK_PAIRS = 1 << 14


class Layout(Protocol):
    """What the tokens of one forward see."""

    longest: int
    """The highest position of a token."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """The attention of one layer.

        Args:
            layer: its number.
            query: (n, heads, width).
            key: (n, key heads, width).
            value: likewise.
            scaling: of the scores.

        Returns:
            (n, heads, width).
        """
        ...


_layout: ContextVar[Layout | None] = ContextVar("contrail_layout", default=None)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: (1, heads, n, width) -> (1, n, heads, width)."""
    layout = _layout.get()
    assert layout is not None, "this attention is called inside `forward` only"
    for unsupported in ("softcap", "s_aux"):
        if kwargs.get(unsupported) is not None:
            raise ContrailError(f"models with attention {unsupported!r} are not supported yet")
    window = kwargs.get("sliding_window")
    if window is not None and layout.longest >= window:
        raise ContrailError(
            f"an episode is longer than the model's sliding window of {window} tokens: "
            f"set max_context: {window}"
        )
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return layout.attend(layer, query, key, value, scaling).unsqueeze(0), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _no_mask)


@contextmanager
def _attention_on(config: Any, layout: Layout) -> Iterator[None]:
    before = config._attn_implementation
    token = _layout.set(layout)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _layout.reset(token)


def forward(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    keep: torch.Tensor,
    layout: Layout,
) -> torch.Tensor:
    """Next-token logits (len(keep), vocabulary) after the rows `keep`.

    Args:
        model: a causal language model.
        tokens: (n,).
        positions: (n,), of each token in its own sequence.
        keep: rows whose logits are wanted; the vocabulary head runs on these only.
        layout: what the tokens see.
    """
    with _attention_on(model.config, layout):
        logits: torch.Tensor = model(
            input_ids=tokens.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=keep,
        ).logits
    return logits[0]


def attend_padded(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Attention of padded segments.

    Heads that share a key head become more queries of it, and the keys need not be repeated.

    Args:
        query: (S, Q, heads, width).
        key: (S, K, key heads, width).
        value: likewise.
        mask: see `additive`.
        scaling: of the scores.

    Returns:
        (S, Q, heads, width).
    """
    count, longest, heads, width = query.shape
    shared = key.shape[2]
    groups = heads // shared
    asked = query.view(count, longest, shared, groups, width).permute(0, 2, 3, 1, 4)
    asked = asked.reshape(count, shared, groups * longest, width)
    out = scaled_dot_product_attention(
        asked, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, scale=scaling
    )
    out = out.view(count, shared, groups, longest, width).permute(0, 3, 1, 2, 4)
    return out.reshape(count, longest, heads, width)


def additive(seen: torch.Tensor, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """From bool (S, Q, K) to what is added to scores: 0 or -inf, (S, 1, groups * Q, K)."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    mask.masked_fill_(~seen, float("-inf"))
    return mask.repeat(1, groups, 1).unsqueeze(1)


class Packed:
    """All keys are of the same forward, but for those of the plan's stem.

    Args:
        plan: whose segments' paths are rows of the plan.
        device: of the model.
        stem: keys and values of the tokens that the plan does not compute.

    Attributes:
        keys: those of the last forward.
    """

    def __init__(self, plan: ForwardPlan, device: torch.device, stem: Keys | None = None) -> None:
        self.longest = int(plan.positions().max())
        self.keys: Keys = {}
        self._stem = stem
        self._blocks = [
            _Block([plan.segments[index] for index in indices], len(plan.stem), device)
            for indices in blocks(plan.segments, device)
        ]
        rows = torch.cat([block.rows for block in self._blocks])
        self._back = rows.argsort()
        self._masks: list[torch.Tensor] = []

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """See `Layout`."""
        self.keys[layer] = (key, value)
        if self._stem is not None:
            above = self._stem[layer]
            key, value = torch.cat([above[0], key]), torch.cat([above[1], value])
        if not self._masks:  # the same for all layers
            groups = query.shape[1] // key.shape[1]
            self._masks = [additive(block.seen, groups, query.dtype) for block in self._blocks]
        outputs = []
        for block, mask in zip(self._blocks, self._masks, strict=True):
            count = block.seen.shape[0]
            out = attend_padded(
                query.index_select(0, block.queries).unflatten(0, (count, -1)),
                key.index_select(0, block.keys).unflatten(0, (count, -1)),
                value.index_select(0, block.keys).unflatten(0, (count, -1)),
                mask,
                scaling,
            )
            outputs.append(out.flatten(0, 1).index_select(0, block.valid))
        return torch.cat(outputs).index_select(0, self._back)


class _Block:
    """Segments of similar length, padded to the longest.

    `queries`: (S * Q,) rows, padded with row 0. `valid`: places of the real ones among them.
    `rows`: the real ones. `keys`: (S * K,) places among the keys, of which the first `stem` are
    not of this forward. `seen`: bool (S, Q, K).
    """

    def __init__(self, segments: Sequence[Segment], stem: int, device: torch.device) -> None:
        count = len(segments)
        longest = max(len(segment.nodes) for segment in segments)
        widest = max(len(segment.path) + len(segment.nodes) for segment in segments)
        queries = numpy.zeros((count, longest), dtype=numpy.int64)
        keys = numpy.zeros((count, widest), dtype=numpy.int64)
        seen = numpy.zeros((count, longest, widest), dtype=bool)
        valid, rows = [], []
        for index, segment in enumerate(segments):
            size, above = len(segment.nodes), len(segment.path)
            own = numpy.arange(segment.first, segment.first + size)
            queries[index, :size] = own
            keys[index, :above] = segment.path
            keys[index, above : above + size] = own
            seen[index, :size, :above] = True
            seen[index, :size, above : above + size] = segment.visible()
            # A padded query sees one key, because a softmax over none is not a number.
            seen[index, size:, 0] = True
            valid.append(numpy.arange(index * longest, index * longest + size))
            rows.append(own)

        def tensor(values: numpy.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(device)

        self.queries, self.keys = tensor(queries.reshape(-1)), tensor(keys.reshape(-1) + stem)
        self.seen = tensor(seen)
        self.valid, self.rows = tensor(numpy.concatenate(valid)), tensor(numpy.concatenate(rows))


def blocks(segments: Sequence[Segment], device: torch.device) -> Iterator[list[int]]:
    """Which segments to pad together: those of similar length."""
    most = BLOCK_PADDING.get(device.type, BLOCK_PADDING["cuda"])
    order = sorted(
        range(len(segments)),
        key=lambda index: (len(segments[index].nodes), len(segments[index].path), index),
    )
    block: list[int] = []
    longest = widest = pairs = 0
    for index in order:
        queries = len(segments[index].nodes)
        keys = queries + len(segments[index].path)
        padded = (len(block) + 1) * max(longest, queries) * max(widest, keys)
        padding = 1 - (pairs + queries * keys) / padded
        if block and (padded > BLOCK_PAIRS or (padding > most and padded > SMALL_BLOCK_PAIRS)):
            yield block
            block, longest, widest, pairs = [], 0, 0, 0
        block.append(index)
        longest, widest = max(longest, queries), max(widest, keys)
        pairs += queries * keys
    yield block
