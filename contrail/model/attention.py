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

# Segments are padded to the longest of their block. A block holds at most this many query-key
# pairs, and at most this share of them is padding; small blocks may be all padding. On a CPU a call
# costs little compared with the pairs: with 0.3 attention was a fifth more expensive.
BLOCK_PAIRS = 1 << 21
BLOCK_PADDING = {"cpu": 0.05, "cuda": 0.3}
SMALL_BLOCK_PAIRS = 1 << 14
# Tokens see none of those after them, but the kernel computes these pairs, too, where it is given a
# mask. So long segments are divided: the parts see no more than the last of them does.
LONGEST_PIECE = {"cpu": 256, "cuda": 1024}


class Layout(Protocol):
    """Which tokens the tokens of one forward attend to."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """The attention of one layer.

        Args:
            layer: its number.
            query: (n, heads, width).
            key: (n, key heads, width).
            value: (n, key heads, value width).
            scaling: of the scores.
            window: how many of the latest tokens a token sees, itself included; None for all.

        Returns:
            (n, heads, value width).
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
    # Anything else that takes part in a score would be left out without a word.
    more = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if more or attention_mask is not None:
        raise ContrailError(f"its attention has {(*more, 'a mask of its own')[0]}")
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    window = kwargs.get("sliding_window")
    return layout.attend(layer, query, key, value, scaling, window).unsqueeze(0), None


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
    """Return next-token logits (len(keep), vocabulary) after the rows `keep`.

    Args:
        model: a causal language model.
        tokens: (n,).
        positions: (n,), of each token in its own sequence.
        keep: the rows whose logits are returned; the vocabulary head runs on these only.
        layout: the attention of the tokens.
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
        value: (S, K, key heads, value width).
        mask: see `additive`.
        scaling: of the scores.

    Returns:
        (S, Q, heads, value width).
    """
    count, longest, heads, width = query.shape
    shared = key.shape[2]
    groups = heads // shared
    asked = query.view(count, longest, shared, groups, width).permute(0, 2, 3, 1, 4)
    asked = asked.reshape(count, shared, groups * longest, width)
    out = scaled_dot_product_attention(
        asked, key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, scale=scaling
    )
    out = out.view(count, shared, groups, longest, value.shape[-1]).permute(0, 3, 1, 2, 4)
    return out.reshape(count, longest, heads, value.shape[-1])


def additive(seen: torch.Tensor, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """Turn bool (S, Q, K) into a term for scores: 0 or -inf, (S, 1, groups * Q, K)."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    mask.masked_fill_(~seen, float("-inf"))
    return mask.repeat(1, groups, 1).unsqueeze(1)


def within(
    seen: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Return the part of `seen`, (S, Q, K), inside the window, by positions (S, Q) and (S, K)."""
    if window is None:
        return seen
    return seen & (keys[:, None, :] > queries[:, :, None] - window)


class Packed:
    """All keys are of the same forward, but for those of the plan's prefix.

    Args:
        plan: whose segments' paths are rows of the plan.
        device: of the model.
        prefix: keys and values of the tokens that the plan does not compute.

    Attributes:
        keys: those of the last forward.
    """

    def __init__(self, plan: ForwardPlan, device: torch.device, prefix: Keys | None = None) -> None:
        self.keys: Keys = {}
        self._prefix = prefix
        longest = LONGEST_PIECE.get(device.type, LONGEST_PIECE["cuda"])
        segments = [piece for segment in plan.segments for piece in segment.pieces(longest)]
        self._blocks = [
            _Block([segments[index] for index in indices], len(plan.prefix), device)
            for indices in blocks(segments, device)
        ]
        rows = torch.cat([block.rows for block in self._blocks])
        self._back = rows.argsort()
        self._masks: dict[int | None, list[torch.Tensor]] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """See `Layout`."""
        self.keys[layer] = (key, value)
        if self._prefix is not None:
            above = self._prefix[layer]
            key, value = torch.cat([above[0], key]), torch.cat([above[1], value])
        if window not in self._masks:  # the same for all layers with this window
            groups = query.shape[1] // key.shape[1]
            seen = [
                within(block.seen, block.query_positions, block.key_positions, window)
                for block in self._blocks
            ]
            self._masks[window] = [additive(item, groups, query.dtype) for item in seen]
        outputs = []
        for block, mask in zip(self._blocks, self._masks[window], strict=True):
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
    `rows`: the real ones. `keys`: (S * K,) places among the keys, of which the first `prefix` are
    not of this forward. `seen`: bool (S, Q, K). `query_positions`, `key_positions`: (S, Q) and
    (S, K), of the tokens in their sequences.
    """

    def __init__(self, segments: Sequence[Segment], prefix: int, device: torch.device) -> None:
        count = len(segments)
        longest = max(len(segment.nodes) for segment in segments)
        widest = max(len(segment.path) + len(segment.nodes) for segment in segments)
        queries = numpy.zeros((count, longest), dtype=numpy.int64)
        keys = numpy.zeros((count, widest), dtype=numpy.int64)
        seen = numpy.zeros((count, longest, widest), dtype=bool)
        query_positions = numpy.zeros((count, longest), dtype=numpy.int64)
        key_positions = numpy.zeros((count, widest), dtype=numpy.int64)
        valid, rows = [], []
        for index, segment in enumerate(segments):
            size, above = len(segment.nodes), len(segment.path)
            own = numpy.arange(segment.first, segment.first + size)
            queries[index, :size] = own
            keys[index, :above] = segment.path
            keys[index, above : above + size] = own
            seen[index, :size, :above] = True
            seen[index, :size, above : above + size] = segment.visible()
            key_positions[index, :above] = numpy.arange(above)
            query_positions[index, :size] = segment.depths()
            key_positions[index, above : above + size] = segment.depths()
            # A padded query sees one key, because a softmax over none is not a number.
            seen[index, size:, 0] = True
            valid.append(numpy.arange(index * longest, index * longest + size))
            rows.append(own)

        def tensor(values: numpy.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(device)

        self.queries, self.keys = tensor(queries.reshape(-1)), tensor(keys.reshape(-1) + prefix)
        self.seen = tensor(seen)
        self.query_positions, self.key_positions = tensor(query_positions), tensor(key_positions)
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
