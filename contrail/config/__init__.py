"""From a stream file and the command line to a checked configuration.

    load          reads stream.yaml, or its content as a mapping, and its plugins
    load_plugin, load_tracker    load one of its plugins or trackers
    RunConfig     the resolved configuration, with the classes of its parts
    Source        the file with its overrides: `with source.located():` adds lines to errors
    to_yaml       the configuration as YAML; to_dict and plain return plain values
    differences   the keys in which two runs differ; identity: the keys that identify a run
    find_model    finds what is named as a model or a policy: registered, a directory, a hub id
    build         makes an instance of a plugin's settings
    grpo_config, lora_config    trl's and peft's objects

Nothing here imports torch, trl or peft, except the last two functions.
"""

from contrail.config.convert import build
from contrail.config.environment_keys import read_shift
from contrail.config.model import find_model
from contrail.config.parse import load
from contrail.config.plugins import load_plugin, load_tracker
from contrail.config.schema import (
    COMPARISON_KEYS,
    STUDY_KEYS,
    AnswersConfig,
    CheckpointConfig,
    Component,
    Composite,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    StageConfig,
    TaskFilter,
    WarmupConfig,
    differences,
    identity,
    names,
    plain,
    task_source,
    to_dict,
    to_yaml,
)
from contrail.config.source import Source, show
from contrail.config.training import GRPOSettings, LoRASettings, grpo_config, lora_config

__all__ = [
    "COMPARISON_KEYS",
    "STUDY_KEYS",
    "AnswersConfig",
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
    "WarmupConfig",
    "build",
    "differences",
    "find_model",
    "grpo_config",
    "identity",
    "load",
    "load_plugin",
    "load_tracker",
    "lora_config",
    "names",
    "plain",
    "read_shift",
    "show",
    "task_source",
    "to_dict",
    "to_yaml",
]
