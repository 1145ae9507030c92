"""From a stream file and the command line to a checked configuration.

    load          reads stream.yaml, or its content as a mapping, and the plugins it names
    RunConfig     what comes of it, with the classes of its parts
    Source        the file with its overrides: `with source.located():` has errors name the line
    to_yaml       the way back; to_dict and plain give plain values
    differences   in which keys two runs differ; identity: what says which run it is
    build         an instance of a plugin's settings from what is written
    grpo_config, lora_config    trl's and peft's objects

Nothing here imports torch, trl or peft, except in the last two functions.
"""

from contrail.config.convert import build
from contrail.config.parse import load
from contrail.config.schema import (
    CheckpointConfig,
    Component,
    Composite,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    StageConfig,
    TaskFilter,
    differences,
    identity,
    names,
    plain,
    to_dict,
    to_yaml,
)
from contrail.config.source import Source, show
from contrail.config.training import GRPOSettings, LoRASettings, grpo_config, lora_config

__all__ = [
    "CheckpointConfig",
    "Component",
    "Composite",
    "EnvironmentConfig",
    "EvaluateConfig",
    "GRPOSettings",
    "LoRASettings",
    "RunConfig",
    "Source",
    "StageConfig",
    "TaskFilter",
    "build",
    "differences",
    "grpo_config",
    "identity",
    "load",
    "lora_config",
    "names",
    "plain",
    "show",
    "to_dict",
    "to_yaml",
]
