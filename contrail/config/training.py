"""The keys `grpo` and `lora` of stream.yaml: what is passed to trl.GRPOConfig and peft.LoraConfig.

trl and peft take seconds to import, so this module imports them only where it makes their objects.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import inspect
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from contrail.config.convert import check_bounds, describe, fits
from contrail.config.source import Source, show
from contrail.errors import nearest

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl.trainer.grpo_config import GRPOConfig

    from contrail.config.schema import RunConfig

T = TypeVar("T")

GRPO_DEFAULTS: dict[str, Any] = {
    "num_generations": 8,
    "generation_batch_size": 32,
    "steps_per_generation": 1,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "constant",
    "temperature": 1.0,
    "beta": 0.0,
    "entropy_coef": 0.0,
    "max_grad_norm": 1.0,
    "loss_type": "dapo",
}
LORA_DEFAULTS: dict[str, Any] = {
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "task_type": "CAUSAL_LM",
}

_TRACKERS = "contrail's plugins do that (contrail_update and the other hooks)"
_ONE_DEVICE = "contrail trains on one device: use the top-level key `device`"
_SAMPLING = "contrail learns from the distribution it samples from: use `grpo.temperature`"
_EPISODES = "contrail plays the episodes itself"
_PRECISION = "use the top-level key `dtype`"
_BATCH = (
    "use `grpo.generation_batch_size` (episodes of an update) and `grpo.steps_per_generation` "
    "(optimizer steps they are split into)"
)
_EVALUATE = "use `evaluate`"
_RUNS = "contrail keeps the run directory and resumes by itself"
_UPDATES = "use `updates` of each stage of `stream`"
_LENGTH = "use `max_context` for an episode; the length of an answer belongs to the adapter"
_REFERENCE = "the reference of `beta` is the model before any training"
_CHECKPOINTING = "contrail chooses it by the device"

# Keys, or patterns of keys, that contrail sets itself or has no use for, and what to do instead.
CONTROLLED: dict[str, dict[str, str]] = {
    "grpo": {
        "output_dir": "use the command line's --out",
        "run_name": "use the command line's --out",
        "seed": "use the top-level key `seed`",
        "data_seed": "use the top-level key `seed`",
        "full_determinism": "use the top-level key `seed`",
        "max_steps": _UPDATES,
        "num_train_epochs": _UPDATES,
        "per_device_train_batch_size": _BATCH,
        "gradient_accumulation_steps": _BATCH,
        "auto_find_batch_size": _BATCH,
        "trust_remote_code": "use the top-level key `trust_remote_code`",
        "use_cpu": "use the top-level key `device`",
        "*bf16*": _PRECISION,
        "*fp16*": _PRECISION,
        "tf32": _PRECISION,
        "*_checkpointing*": _CHECKPOINTING,
        "report_to": _TRACKERS,
        "project": _TRACKERS,
        "trackio_*": _TRACKERS,
        "log*": _TRACKERS,
        "num_completions_to_print": _TRACKERS,
        "disable_tqdm": _TRACKERS,
        "hub_*": _TRACKERS,
        "push_to_hub": _TRACKERS,
        "*eval*": _EVALUATE,
        "do_*": _EVALUATE,
        "*metric*": _EVALUATE,
        "greater_is_better": _EVALUATE,
        "save_*": _RUNS,
        "*resume*": _RUNS,
        "restore_*": _RUNS,
        "ignore_data_skip": _RUNS,
        "enable_jit_checkpoint": _RUNS,
        "load_best_model_at_end": _RUNS,
        "*vllm*": _EPISODES,
        "use_transformers_*": _EPISODES,
        "transformers_continuous_*": _EPISODES,
        "chat_template_kwargs": _EPISODES,
        "max_tool_calling_iterations": _EPISODES,
        "cache_implementation": _EPISODES,
        "use_cache": _EPISODES,
        "sync_ref_model": _REFERENCE,
        "ref_model_*": _REFERENCE,
        "reward_weights": "the environment gives one reward",
        "multi_objective_aggregation": "the environment gives one reward",
        "generation_kwargs": _SAMPLING,
        "top_p": _SAMPLING,
        "top_k": _SAMPLING,
        "min_p": _SAMPLING,
        "repetition_penalty": _SAMPLING,
        "max_completion_length": _LENGTH,
        "mask_truncated_completions": "an episode that runs out of turns is a failure like another",
        "use_liger_kernel": "contrail computes the log-probabilities itself",
        "model_init_kwargs": "use the top-level keys `model` and `dtype`",
        "shuffle_dataset": "the strategy draws the tasks: use `strategy`",
        "remove_unused_columns": _EPISODES,
        "dataloader_*": _EPISODES,
        "train_sampling_strategy": "the strategy draws the tasks: use `strategy`",
        "length_column_name": _EPISODES,
        "label_names": _EPISODES,
        "ddp_*": _ONE_DEVICE,
        "fsdp*": _ONE_DEVICE,
        "deepspeed": _ONE_DEVICE,
        "ds3_*": _ONE_DEVICE,
        "accelerator_config": _ONE_DEVICE,
        "parallelism_config": _ONE_DEVICE,
        "local_rank": _ONE_DEVICE,
        "average_tokens_across_devices": _ONE_DEVICE,
    },
    "lora": {
        "inference_mode": "contrail sets it",
        "peft_type": "contrail trains LoRA",
        "peft_version": "contrail sets it",
        "base_model_name_or_path": "use the top-level key `model`",
        "revision": "use the top-level key `model`",
        "auto_mapping": "contrail sets it",
        "megatron_*": _ONE_DEVICE,
    },
}

# What trl and peft would find out only while training, or not at all.
_CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "grpo": {
        "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
        "importance_sampling_level": ("token", "sequence"),
        "scale_rewards": ("group", "batch", "none", True, False),
        "router_aux_loss_coef": (0, None),  # contrail has no such loss
    },
    "lora": {"task_type": ("CAUSAL_LM",)},
}
_LEAST: dict[str, dict[str, float]] = {
    "grpo": {
        "num_generations": 2,
        "generation_batch_size": 2,
        "steps_per_generation": 1,
        "num_iterations": 1,
        "learning_rate": 0,
        "beta": 0,
        "epsilon": 0,
        "max_grad_norm": 0,
        "weight_decay": 0,
        "warmup_steps": 0,
        "temperature": 1e-6,
    },
    "lora": {"r": 1, "lora_alpha": 1, "lora_dropout": 0},
}


def check_training(source: Source, section: str, written: Mapping[str, Any]) -> None:
    """Refuse what can be refused without importing trl or peft.

    Args:
        source: where the values come from.
        section: "grpo" or "lora".
        written: the section as the user wrote it, over contrail's defaults.
    """
    for name, value in written.items():
        key = (section, name)
        for pattern, instead in CONTROLLED[section].items():
            if fnmatch.fnmatchcase(str(name), pattern):
                source.fail(key, f"cannot be set: {instead}.")
        allowed = _CHOICES[section].get(name)
        if allowed and value not in allowed:
            source.fail(key, f"{show(value)} is not allowed. {nearest(value, allowed)}")
        check_bounds(source, key, value, _LEAST[section].get(name))
    if section == "lora" and written["lora_dropout"] != 0:
        source.fail(
            ("lora", "lora_dropout"),
            "must be 0: with dropout the model that is updated would not be the model that acted, "
            "and episodes could not share their prefixes. Remove the key.",
        )
    # A name unknown here may be misspelt: then `grpo_config` says so first.
    if section == "grpo" and set(written) <= {*GRPO_DEFAULTS, *_CHOICES[section], *_LEAST[section]}:
        _check_multiples(source, written)


def grpo_config(config: RunConfig, output_dir: Path, **fixed: Any) -> GRPOConfig:
    """The run's trl.GRPOConfig. It touches no network and no disk.

    Args:
        config: the run's configuration.
        output_dir: where trl would write; contrail has it write nothing.
        fixed: further fields that contrail decides.

    Raises:
        ConfigError: a key of `grpo` is unknown, of the wrong type, or refused by trl.
    """
    from contrail.compat.torchvision import repair

    repair()
    import torch
    from trl.trainer.grpo_config import GRPOConfig

    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        config.source.fail(("device",), "torch finds no CUDA device. Use `device: auto` or cpu.")
    values = dict(config.grpo)
    _check_types(config.source, "grpo", values, GRPOConfig)
    _check_multiples(config.source, values)
    steps = values.pop("steps_per_generation")  # trl derives it from the two batch sizes
    updates = sum(stage.updates for stage in config.stream)
    own = {
        "output_dir": str(output_dir),
        "seed": config.seed,
        "max_steps": max(1, updates * steps * values.get("num_iterations", 1)),
        "per_device_train_batch_size": values["generation_batch_size"] // steps,
        "gradient_accumulation_steps": 1,
        "use_cpu": config.device == "cpu" or not cuda,
        "bf16": False,  # the model has its dtype already; there is no autocast
        "fp16": False,
        "activation_checkpointing": False,
        "use_vllm": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "trust_remote_code": config.trust_remote_code,
    }
    return _construct(config.source, "grpo", GRPOConfig, values | own | fixed)


def lora_config(config: RunConfig, target_modules: Sequence[str] | None = None) -> LoraConfig:
    """The run's peft.LoraConfig.

    Args:
        config: the run's configuration.
        target_modules: the modules' last names (q_proj, …), where the caller knows the model.
            Without them "all-linear" stays, beside which peft ignores layers_to_transform.

    Raises:
        ConfigError: a key of `lora` is unknown, of the wrong type, or refused by peft.
    """
    from contrail.compat.torchvision import repair

    repair()
    from peft import LoraConfig

    values = dict(config.lora)
    _check_types(config.source, "lora", values, LoraConfig)
    if target_modules is not None:
        values["target_modules"] = list(target_modules)
    every = values["target_modules"] == "all-linear"
    if every:
        # Given as text, peft takes it for a pattern, beside which it refuses layers_to_transform.
        values["target_modules"] = None
    lora = _construct(config.source, "lora", LoraConfig, values)
    if every:
        lora.target_modules = "all-linear"
    return lora


def _check_types(source: Source, section: str, values: Mapping[str, Any], cls: type) -> None:
    fields = {item.name for item in dataclasses.fields(cls) if item.init}
    hidden = [
        name
        for name in fields
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in CONTROLLED[section])
    ]
    known = [name for name in inspect.signature(cls).parameters if name in fields]
    for name in values:
        if name not in known or name in hidden:
            # There are too many to list them all.
            close = difflib.get_close_matches(name, set(known) - set(hidden), n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}?" if close else "It has no such field."
            source.fail((section, name), f"unknown key of {cls.__name__}. {hint}")
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        if name not in _CHOICES[section] and not fits(value, hints[name]):
            source.fail((section, name), f"{show(value)} is not {describe(hints[name])}.")


def _construct(source: Source, section: str, cls: type[T], values: Mapping[str, Any]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of fields that trl sets itself
            return cls(**values)
    except (ValueError, TypeError, ImportError) as error:
        text = " ".join(str(error).split())
        named = [name for name, value in values.items() if _mentions(text, name, value)]
        written = [name for name in named if source.written((section, name))]
        key = (section, written[0]) if written else (section,)
        source.fail(key, f"{cls.__name__} refuses it: {text}", of_children=True)


def _mentions(text: str, name: str, value: object) -> bool:
    return name in text or (isinstance(value, str) and value in text)


def _check_multiples(source: Source, written: Mapping[str, Any]) -> None:
    _check_multiple(source, written, "num_generations")
    _check_multiple(source, written, "steps_per_generation")


def _check_multiple(source: Source, written: Mapping[str, Any], part: str) -> None:
    """Refuse an update whose episodes are not whole groups, or not equal steps."""
    whole = "generation_batch_size"
    total, one = written[whole], written[part]
    if not (isinstance(total, int) and isinstance(one, int)) or total % one == 0:
        return
    below, above = total // one * one, (total // one + 1) * one
    either = f"{below} or {above}" if below else f"{above}"
    key = ("grpo", whole if source.written(("grpo", whole)) else part)
    source.fail(
        key,
        f"grpo.{whole} ({total}) is not a multiple of grpo.{part} ({one}). "
        f"Set {whole} to {either}.",
    )
