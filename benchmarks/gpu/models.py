"""Random weights in the shapes of Qwen2.5, made on the device, and a tokenizer made on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.workload import SEED
from contrail.model.policy import Policy, linear_modules, with_lora
from contrail.plugins.models.smollm2 import tiny_random

import torch  # isort: skip
from peft import LoraConfig  # isort: skip
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM  # isort: skip

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = 151_936
HEAD_GAIN = 3.0  # of the last norm: logits spread as a trained model's, candidates differ


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2 model."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    tied: bool
    vocabulary: int = VOCABULARY


SHAPES = {
    "0.5b": Shape(896, 4864, 24, 14, 2, True),
    "1.5b": Shape(1536, 8960, 28, 12, 2, True),
    "3b": Shape(2048, 11008, 36, 16, 2, True),
    "7b": Shape(3584, 18944, 28, 28, 4, False),
    "tiny": Shape(64, 128, 2, 4, 2, True, 2048),  # more than its tokenizer knows, as the others
}


def random_model(name: str, dtype: str, device: str) -> PreTrainedModel:
    """Return a Qwen2 of random weights, the same every time on the same device in the same
    dtype."""
    shape = SHAPES[name]
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=32_768,
        # Those of the tokenizer below.
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    noise = torch.Generator(device).manual_seed(SEED)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.dim() > 1 or parameter_name.endswith("bias"):
                parameter.normal_(std=0.02, generator=noise)
        model.model.norm.weight.fill_(HEAD_GAIN)
    model.requires_grad_(False)
    model.eval()
    return model


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a byte-level tokenizer of 512 tokens with a chat template; no network is needed."""
    made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_random())
    return made


def random_policy(
    name: str, dtype: str, device: str, *, fresh: bool = False, model: Any = None
) -> Policy:
    """Return the model with LoRA of rank 16 on all linear layers.

    Args:
        name: of the shape.
        dtype: of the weights.
        device: where they are.
        fresh: whether the adapter does nothing yet, as at the beginning of a run.
        model: the model, if it is there already.
    """
    base = random_model(name, dtype, device) if model is None else model
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=sorted(linear_modules(base)), task_type="CAUSAL_LM"
    )
    policy = with_lora(base, tokenizer(), lora, seed=SEED)
    if not fresh:
        noise = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for parameter_name, parameter in policy.parameters.items():
                if "lora_B" in parameter_name:
                    drawn = torch.randn(parameter.shape, generator=noise) * 0.01
                    parameter.copy_(drawn.to(parameter))
    policy.chat.ends = set()  # nothing ends a turn but its length
    return policy


def weight_bytes(model: PreTrainedModel) -> int:
    """Bytes of weights that a forward of one token reads: an untied embedding is looked up only."""
    total = sum(parameter.nbytes for parameter in model.parameters())
    if model.config.tie_word_embeddings:
        return total
    embeddings: Any = model.get_input_embeddings()
    return total - int(embeddings.weight.nbytes)


def cache_bytes(model: PreTrainedModel) -> int:
    """Bytes of keys and values of one token."""
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    per_layer = 2 * config.num_key_value_heads * width * model.dtype.itemsize
    return int(config.num_hidden_layers * per_layer)


def smollm2(directory: Path | None) -> Path | None:
    """SmolLM2-135M's directory, if it is on this machine."""
    from contrail.cache import cache

    place = directory or cache() / "models" / "smollm2-135m"
    return place if (place / "config.json").is_file() else None
