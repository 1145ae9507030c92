"""The keys grpo and lora: beside the fields of trl and peft, and what is made of them."""

from __future__ import annotations

import dataclasses
import fnmatch
import inspect
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import Load
from peft import LoraConfig
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from trl.trainer.grpo_config import GRPOConfig

from contrail.config import GRPOSettings, LoRASettings, grpo_config, lora_config
from contrail.config.convert import fits
from contrail.config.training import ADVICE
from contrail.errors import ConfigError

OWN_DEFAULTS = {
    GRPOSettings: {
        "generation_batch_size",
        "steps_per_generation",
        "learning_rate",
        "lr_scheduler_type",
    },
    LoRASettings: {"r", "lora_alpha", "target_modules", "task_type"},
}
TARGETS = {GRPOSettings: GRPOConfig, LoRASettings: LoraConfig}
FIELDS = [(cls, item) for cls in TARGETS for item in dataclasses.fields(cls)]
NAMES = {"lr_scheduler_type": SchedulerType, "optim": OptimizerNames}


def default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if callable(item.default_factory) else item.default


def allowed(hint: Any) -> list[Any]:
    """Values that an annotation allows."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if typing.get_args(hint) and typing.get_origin(hint) not in (list, dict):
        return [value for one in typing.get_args(hint) for value in allowed(one)]
    examples = {
        int: 3,
        float: 0.5,
        bool: True,
        str: "text",
        list[int]: [1],
        list[str]: ["text"],
        dict[str, int]: {"text": 1},
        dict[str, Any]: {"text": 1},
        dict[str, list[int]]: {"text": [1]},
        type(None): None,
    }
    return [examples[hint]]


@pytest.mark.parametrize(("cls", "item"), FIELDS, ids=lambda value: getattr(value, "name", ""))
def test_a_key_is_a_field_of_trl_or_peft(cls: Any, item: dataclasses.Field[Any]) -> None:
    target = TARGETS[cls]
    assert item.name in inspect.signature(target).parameters
    [other] = [field for field in dataclasses.fields(target) if field.name == item.name]
    if item.name not in OWN_DEFAULTS[cls]:
        assert default(item) == getattr(default(other), "value", default(other))
    theirs = typing.get_type_hints(target)[item.name]
    for value in allowed(typing.get_type_hints(cls)[item.name]):
        switch = item.name == "scale_rewards" and isinstance(value, bool)  # TRL makes texts of them
        assert fits(value, theirs) or switch
        if item.name in NAMES:
            NAMES[item.name](value)


def test_advice_is_about_fields_that_are_not_taken() -> None:
    for (cls, target), section in zip(TARGETS.items(), ("grpo", "lora"), strict=True):
        theirs = set(inspect.signature(target).parameters)
        ours = {item.name for item in dataclasses.fields(cls)}
        assert ours <= theirs
        for pattern in ADVICE[section]:
            matching = set(fnmatch.filter(theirs, pattern))
            assert matching, pattern
            assert not matching & ours


SCHEDULES = {
    "cosine_with_min_lr": {"min_lr": 1e-5},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 1},
}


@pytest.mark.parametrize(
    "name", typing.get_args(typing.get_type_hints(GRPOSettings)["lr_scheduler_type"])
)
def test_every_schedule_can_be_stepped(name: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=1,
        num_training_steps=3,
        scheduler_specific_kwargs=SCHEDULES.get(name),
    )
    for _ in range(3):
        optimizer.step()
        schedule.step()


def test_grpo_config(read: Load, tmp_path: Path) -> None:
    config = read("stream: [{environment: maze, updates: 5}, craft]", "grpo.steps_per_generation=4")
    out = tmp_path / "out"
    grpo = grpo_config(config, out)
    assert (grpo.num_generations, grpo.generation_batch_size) == (8, 32)
    assert (grpo.per_device_train_batch_size, grpo.steps_per_generation) == (8, 4)
    assert grpo.max_steps == 45 * 4
    assert grpo.loss_type == "dapo"
    assert not any((grpo.bf16, grpo.fp16, grpo.gradient_checkpointing))
    assert grpo.report_to == []
    assert grpo_config(config, out, max_completion_length=7).max_completion_length == 7
    assert not out.exists()


def test_every_value_reaches_trl(read: Load, tmp_path: Path) -> None:
    values = {"lr_scheduler_kwargs": {"a": 1}, "epsilon_high": 0.3, "scale_rewards": False}
    config = read("stream: [maze]", *(f"grpo.{name}={value}" for name, value in values.items()))
    made = grpo_config(config, tmp_path)
    for name, value in dataclasses.asdict(config.grpo).items():
        assert getattr(made, name) == ("none" if value is False else value) or value is False, name
    assert made.scale_rewards == "none"


def test_lora_config(read: Load) -> None:
    config = read("stream: [maze]", "lora={r: 4, layers_to_transform: [0]}")
    assert lora_config(config).target_modules == "all-linear"
    assert lora_config(config).r == 4
    assert set(lora_config(config, ["q_proj"]).target_modules or ()) == {"q_proj"}
    named = read("stream: [maze]", "lora.target_modules=[k_proj]")
    assert set(lora_config(named).target_modules or ()) == {"k_proj"}


def test_refused_by_peft(read: Load) -> None:
    config = read("stream: [maze]", "lora.layers_pattern=h")
    with pytest.raises(ConfigError, match="LoraConfig refuses it: When `layers_pattern`") as caught:
        lora_config(config)
    assert caught.value.key == ("lora", "layers_pattern")
