"""The limit: a loop that does only the token work which no rollout can avoid.

Rows of equal length, so nothing is padded; what groups share is computed once; keys and values are
kept, in buffers allocated once; the adapter is merged once; the likeliest token is taken; no text,
no environments, no log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contrail.episode import Episode
from contrail.model.policy import Policy

import torch  # isort: skip
from torch.nn.functional import scaled_dot_product_attention  # isort: skip
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel  # isort: skip
from transformers.cache_utils import Cache, CacheLayerMixin  # isort: skip

ATTENTION = "benchmarks_bare"


@dataclass(frozen=True)
class Lengths:
    """Tokens to run the model on: `system` once, `start` for each task, and for each episode and
    turn after the first `follow`; then `written` - 1 one at a time in each turn."""

    system: int
    start: int
    follow: int
    turns: int
    written: int

    def total(self, tasks: int, group: int) -> int:
        """Return all tokens of a rollout."""
        later = (self.turns - 1) * self.follow + self.turns * (self.written - 1)
        return self.system + tasks * self.start + tasks * group * later


def lengths(episodes: Sequence[Episode]) -> Lengths:
    """Return the mean lengths of recorded episodes, all of which have equally many turns."""
    firsts = [episode.turns[0].prompt for episode in episodes]
    shared = next(
        place
        for place, tokens in enumerate(zip(*firsts, strict=False))
        if len(set(tokens)) > 1 or place == min(map(len, firsts)) - 1
    )
    later = [turn.prompt for episode in episodes for turn in episode.turns[1:]]
    return Lengths(
        system=shared,
        start=round(sum(map(len, firsts)) / len(firsts)) - shared,
        # The last token a turn wrote is run together with the next turn's prompt.
        follow=1 + round(sum(map(len, later)) / max(1, len(later))),
        turns=len(episodes[0].turns),
        written=len(episodes[0].turns[0].written),
    )


class _Buffer(CacheLayerMixin):
    """Keys and values (rows, heads, capacity, width) of one layer, written in place."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._capacity = capacity
        self._length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.keys = key_states.new_empty((rows, heads, self._capacity, width))
        self.values = torch.empty_like(self.keys)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        begin, self._length = self._length, self._length + key_states.shape[2]
        self.keys[:, :, begin : self._length] = key_states
        self.values[:, :, begin : self._length] = value_states
        return self.keys[:, :, : self._length], self.values[:, :, : self._length]

    def repeated(self, times: int, capacity: int) -> _Buffer:
        """Return a larger buffer that begins with `times` copies of each row."""
        made = _Buffer(capacity)
        assert self.keys is not None
        assert self.values is not None
        parts = [part[:, :, : self._length] for part in (self.keys, self.values)]
        made.update(*[part.repeat_interleave(times, 0) for part in parts])
        return made

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._length + query_length, 0

    def get_seq_length(self) -> int:
        return self._length

    def get_max_length(self) -> int:
        return self._capacity


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in which heads that share a key head are more queries of it: transformers'
    own repeats keys and values, a copy of the whole cache."""
    rows, heads, count, width = query.shape
    groups = heads // key.shape[1]
    mask = None
    if count > 1:
        seen = torch.ones(count, key.shape[2], dtype=torch.bool, device=key.device)
        mask = seen.tril(key.shape[2] - count).repeat(groups, 1)
    asked = query.reshape(rows, heads // groups, groups * count, width)
    out = scaled_dot_product_attention(asked, key, value, attn_mask=mask, scale=scaling)
    return out.reshape(rows, heads, count, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, lambda *args, **kwargs: None)


def run(policy: Policy, plan: Lengths, tasks: int, group: int) -> int:
    """Do the work; returns the tokens that the model was run on."""
    with policy.acting() as model:
        before = model.config._attn_implementation
        model.set_attn_implementation(ATTENTION)
        try:
            return _run(model, plan, tasks, group)
        finally:
            model.set_attn_implementation(before)


@torch.inference_mode()
def _run(model: PreTrainedModel, plan: Lengths, tasks: int, group: int) -> int:
    noise = torch.Generator().manual_seed(0)
    computed = 0

    def prompt(rows: int, length: int) -> torch.Tensor:
        return torch.randint(model.config.vocab_size, (rows, length), generator=noise)

    def forward(tokens: torch.Tensor, cache: Cache) -> torch.Tensor:
        nonlocal computed
        computed += tokens.numel()
        tokens = tokens.to(model.device)
        out = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        found: torch.Tensor = out.logits[:, -1].argmax(-1, keepdim=True)
        return found

    def widen(cache: Cache, times: int, capacity: int) -> Cache:
        layers: list[Any] = cache.layers
        return Cache(layers=[layer.repeated(times, capacity) for layer in layers])

    first = plan.system + plan.start
    whole = first + (plan.turns - 1) * plan.follow + plan.turns * (plan.written - 1)
    cache = Cache(layers=[_Buffer(plan.system) for _ in range(model.config.num_hidden_layers)])
    forward(prompt(1, plan.system), cache)
    cache = widen(cache, tasks, first)
    token = forward(prompt(tasks, plan.start), cache).repeat_interleave(group, 0)
    cache = widen(cache, group, whole)
    for turn in range(plan.turns):
        if turn:
            rest = prompt(tasks * group, plan.follow - 1).to(token.device)
            token = forward(torch.cat([token, rest], 1), cache)
        for _ in range(plan.written - 1):
            token = forward(token, cache)
    return computed
