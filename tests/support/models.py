"""Tiny random models of many kinds, as policies."""

from __future__ import annotations

from typing import Any

from rooms import train

from contrail.model.policy import Policy, linear_modules, load_base, with_lora
from contrail.plugins.models.smollm2 import tiny_random

import torch  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import AutoConfig, AutoModelForCausalLM  # isort: skip

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
GPT = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 2048}
HALF = ["full_attention"] * 2
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}

FAST: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": {**SMALL, "head_dim": 16},
    "mistral": {**SMALL, "sliding_window": 24},
    "gpt2": GPT,
    "gpt_neox": SMALL,
    "phi3": SMALL,
    "olmo2": SMALL,
    "gemma3_text": {**SMALL, "head_dim": 16, "sliding_window": 24},
    "minicpm3": {**SMALL, **LATENT},
    "qwen3_moe": {**SMALL, **EXPERTS, "head_dim": 16},
}
SLOW: dict[str, dict[str, Any]] = {
    "lfm2": {**SMALL, "layer_types": ["conv", "full_attention"] * 2},
    "qwen3_5_text": {
        **SMALL,
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2},
    "gemma2": {**SMALL, "head_dim": 16, "sliding_window": 24},
    "gptj": {**GPT, "rotary_dim": 8},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 2048},
}


def make(
    kind: str, settings: dict[str, Any], enlarged: float = 6.0, trained: bool = True, **lora: Any
) -> Policy:
    """A policy of a kind of model. Its weights are enlarged, so that all it sees matters."""
    _, tokenizer = load_base(str(tiny_random()), dtype="float32", device="cpu")
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    config = AutoConfig.for_model(kind, vocab_size=512, **{**special, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "A_log" not in name:
                parameter.mul_(enlarged)
    model.requires_grad_(False)
    adapter: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **lora}
    adapter.setdefault("target_modules", sorted(linear_modules(model)))
    max_context = adapter.pop("max_context", None)
    policy = with_lora(model, tokenizer, LoraConfig(**adapter), 0, max_context)
    if trained:
        train(policy, 0.05)
    return policy
