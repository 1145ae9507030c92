"""Admission to the KV cache: when memory is short, the oldest episodes keep their keys."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel


def cache_tokens(model: PreTrainedModel, gigabytes: float | None = None) -> int:
    """Tokens whose keys and values take so much memory, about.

    Args:
        model: on its device, in its dtype.
        gigabytes: of 10^9 bytes; None for half of a GPU's memory, or 3 on a CPU.
    """
    if gigabytes is not None:
        memory = gigabytes * 1e9
    elif model.device.type == "cuda":
        memory = torch.cuda.get_device_properties(model.device).total_memory / 2
    else:
        memory = 3e9
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    both = 2 * width
    if getattr(config, "qk_nope_head_dim", None):  # latent attention
        heads = config.num_attention_heads
        both = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    return int(memory // (config.num_hidden_layers * heads * both * model.dtype.itemsize))


class CacheAdmission:
    """Admission to the KV cache: when memory is short, the oldest episodes keep their keys and the
    youngest wait. An episode that loses its keys computes them again later.

    As long as nothing is known about the lengths of episodes, all begin. Then each episode is
    expected to become as long as the longest of its environment so far. An episode without keys
    waits until those with keys would have enough memory at that length: each loses its keys once,
    or rarely more often.

    Args:
        tokens: the number of tokens that the cache can hold.
    """

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._longest: dict[str, int] = {}

    def admit(
        self, environments: Sequence[str], lengths: Sequence[int], holding: Sequence[bool]
    ) -> list[bool]:
        """Return whether each episode may hold keys during the next forward.

        Args:
            environments: of the episodes, the oldest first.
            lengths: the tokens of each after the forward.
            holding: whether it holds keys now.
        """
        for environment, length in zip(environments, lengths, strict=True):
            self._longest[environment] = max(length, self._longest.get(environment, 0))
        admitted = [False] * len(lengths)
        free = spare = self._tokens
        for index, held in enumerate(holding):
            if held and (lengths[index] <= free or free == self._tokens):
                admitted[index] = True
                free -= lengths[index]
                spare -= self._longest[environments[index]]
        for index, held in enumerate(holding):
            if not held:
                expected = self._longest[environments[index]]
                if expected > spare and any(admitted):
                    break
                admitted[index] = True
                spare -= expected
        return admitted
