"""Limits on the length of sequences, from a model's configuration."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

UNLIMITED = 1 << 30
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def context_limit(config: PreTrainedConfig) -> int:
    """The longest sequence that the model takes."""
    text = config.get_text_config()
    found = [_value(text, name) for name in LIMITS]
    return next((int(value) for value in found if isinstance(value, int) and value > 0), UNLIMITED)


def constant_length(config: PreTrainedConfig) -> int:
    """The length up to which a token's probability does not depend on the tokens after it.

    Longer sequences get other rotary frequencies, from their first token on. (Of kind "dynamic",
    they do so beyond `context_limit`, which no episode exceeds.)
    """
    text = config.get_text_config()
    lengths = [
        values.get("original_max_position_embeddings")
        or getattr(text, "original_max_position_embeddings", None)
        for values in _rotary(text)
        if "longrope" in (values.get("rope_type"), values.get("type"))
    ]
    return min((int(length) for length in lengths if length), default=UNLIMITED)


def sliding_window(config: PreTrainedConfig) -> int | None:
    """The window of the layers that see only the latest tokens; None if all layers see all."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None)
    if not isinstance(window, int) or getattr(text, "use_sliding_window", True) is False:
        return None
    kinds = getattr(text, "layer_types", None)
    return None if kinds is not None and "sliding_attention" not in kinds else window


def other_layers(config: PreTrainedConfig) -> list[str]:
    """The kinds of layers that are not attention to all tokens, or to a window of them."""
    kinds = getattr(config.get_text_config(), "layer_types", None) or []
    return sorted({str(kind) for kind in kinds} - {"full_attention", "sliding_attention"})


def _value(config: PreTrainedConfig, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except NotImplementedError:  # XLNet's, which has no limit
        return None


def _rotary(text: Any) -> list[dict[str, Any]]:
    """The settings of rotary embeddings: one, or one for each kind of layer."""
    values = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    inner = [item for item in values.values() if isinstance(item, dict)]
    return inner or [values]
