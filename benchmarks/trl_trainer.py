"""TRL's trainer, set up as its documentation has it and as fast as it gets."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.workload import SEED, Settings
from contrail.model.policy import Policy
from contrail.seeding import generator

from datasets import Dataset  # isort: skip
from transformers import PrinterCallback  # isort: skip
from trl import GRPOConfig, GRPOTrainer  # isort: skip


def config(settings: Settings, directory: Path, **values: Any) -> GRPOConfig:
    """TRL's settings: one update learns from all episodes, in micro-batches of `trl_batch`."""
    defaults: dict[str, Any] = {
        "output_dir": str(directory),
        "per_device_train_batch_size": settings.trl_batch,
        "gradient_accumulation_steps": settings.episodes // settings.trl_batch,
        "num_generations": settings.group,
        "max_completion_length": 8192,  # of all turns
        "generation_kwargs": {
            "max_new_tokens": settings.tokens,  # of one turn
            "min_new_tokens": settings.tokens,
        },
        "max_tool_calling_iterations": settings.turns - 1,
        "use_transformers_continuous_batching": settings.trl_continuous,
        "max_steps": 1,
        "learning_rate": 1e-9,  # the steps are taken, and the rounds remain alike
        "lr_scheduler_type": "constant",
        "use_cpu": settings.device == "cpu",
        "bf16": settings.dtype == "bfloat16",
        "activation_checkpointing": False,
        "shuffle_dataset": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return GRPOConfig(**defaults | values)


def make_trainer(policy: Policy, arguments: GRPOConfig, **values: Any) -> GRPOTrainer:
    """TRL's trainer of the policy's model; its rewards are noise."""
    noise = generator(SEED, "rewards")
    defaults: dict[str, Any] = {
        "model": policy.model,
        "reward_funcs": lambda completions, **_: noise.normal(size=len(completions)).tolist(),
        "args": arguments,
        "train_dataset": Dataset.from_dict({"prompt": ["-"]}),
        "processing_class": policy.chat.tokenizer,
    }
    logging.getLogger("trl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these interfaces are experimental
        trainer = GRPOTrainer(**defaults | values)
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def checkpointing(policy: Policy) -> Iterator[None]:
    """Activation checkpointing as TRL turns it on by default."""
    policy.base.enable_input_require_grads()
    policy.base.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        policy.base.activation_checkpointing_disable()
        policy.base.disable_input_require_grads()
