"""The models that are measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.workload import SEED, Settings
from contrail.model.policy import Policy, linear_modules, load_base, with_lora
from contrail.plugins.models.smollm2 import smollm2_135m, tiny_random

import torch  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM  # isort: skip

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SOURCES: dict[str, Callable[[], Path]] = {"smollm2-135m": smollm2_135m, "tiny-random": tiny_random}


def make_policy(settings: Settings, dtype: str | None = None) -> Policy:
    """Return the model with LoRA of rank 16 on all linear layers.

    The adapter does something: the second matrices of a fresh one are 0, which would hide errors
    in how it is applied.
    """
    dtype = dtype or settings.dtype
    if settings.model == "random-1.5b":
        base, tokenizer = _random_1_5b(dtype, settings.device)
    else:
        source = SOURCES.get(settings.model, lambda: Path(settings.model))
        base, tokenizer = load_base(str(source()), dtype=dtype, device=settings.device)
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=sorted(linear_modules(base)), task_type="CAUSAL_LM"
    )
    policy = with_lora(base, tokenizer, lora, seed=SEED)
    noise = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                drawn = torch.randn(parameter.shape, generator=noise) * 0.01
                parameter.copy_(drawn.to(parameter))
    # Nothing ends a turn but its length; TRL is told so with min_new_tokens.
    policy.chat.ends = set()
    return policy


def _random_1_5b(dtype: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a Llama of 1.5B random weights, nearly the shape of Qwen2.5-1.5B, with SmolLM2's
    tokens."""
    tokenizer = AutoTokenizer.from_pretrained(smollm2_135m())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=30,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model = LlamaForCausalLM(config).to(getattr(torch, dtype)).to(device)
    model.requires_grad_(False)
    return model, tokenizer
