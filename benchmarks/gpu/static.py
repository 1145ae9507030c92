"""A bare decoding loop whose every step is alike: same tensors, same shapes, nothing read back.

So a step can be captured as a CUDA graph. Keys and values lie in buffers allocated once; where the
new ones go and what is seen is in tensors on the device. (transformers' StaticCache asks for masks
that it makes anew each step.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

ATTENTION = "benchmarks_static"

_seen: list[torch.Tensor] = []


class _Layer(CacheLayerMixin):
    """Keys and values (rows, heads, capacity, width) of one layer, written at `at`."""

    def __init__(self, at: torch.Tensor, shape: tuple[int, ...], model: PreTrainedModel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._at = at
        self.keys = torch.zeros(shape, dtype=model.dtype, device=model.device)
        self.values = torch.zeros_like(self.keys)
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        pass

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None
        assert self.values is not None
        self.keys.index_copy_(2, self._at, key_states)
        self.values.index_copy_(2, self._at, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_max_length(), 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        assert self.keys is not None
        return int(self.keys.shape[2])


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """One query a row; heads that share a key head are more queries of it."""
    rows, heads, count, width = query.shape
    shared = key.shape[1]
    asked = query.reshape(rows, shared, heads // shared * count, width)
    out = scaled_dot_product_attention(asked, key, value, attn_mask=_seen[-1], scale=scaling)
    return out.reshape(rows, heads, count, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)


class Loop:
    """Rows of random keys and values of `prompt` tokens, ready to write `tokens` more.

    `step` writes one token a row. The contents do not matter to its time.
    """

    def __init__(self, model: PreTrainedModel, rows: int, prompt: int, tokens: int) -> None:
        self._model = model
        self._prompt = prompt
        device = model.device
        config = model.config
        capacity = -(-(prompt + tokens) // 64) * 64
        width = config.hidden_size // config.num_attention_heads
        shape = (rows, config.num_key_value_heads, capacity, width)
        self.at = torch.tensor([prompt], device=device)
        layers: list[Any] = [_Layer(self.at, shape, model) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=layers)
        self.token = torch.ones((rows, 1), dtype=torch.long, device=device)
        self._places = torch.arange(capacity, device=device)

    def rewind(self) -> None:
        """Begin after the prompt again."""
        self.at.fill_(self._prompt)

    @torch.inference_mode()
    def step(self) -> None:
        """One token more for every row: the likeliest."""
        _seen.append((self._places <= self.at)[None, None, None])
        try:
            logits = self._model(
                input_ids=self.token,
                position_ids=self.at.expand_as(self.token),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        finally:
            _seen.pop()
        self.token.copy_(logits[:, -1].argmax(-1, keepdim=True))
        self.at.add_(1)


@contextmanager
def attention(model: PreTrainedModel) -> Iterator[None]:
    """Context manager: the model with this module's attention."""
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
