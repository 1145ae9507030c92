"""Continual reinforcement fine-tuning of LLM agents over a stream of environments.

Every name in `__all__` is public and documented in docs/api.md or docs/plugins.md. It is imported
when it is first used: `import contrail` alone imports nothing that takes time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contrail.actions import list_actions, read_action
    from contrail.adapter import Adapter, EpisodeView, Exchange
    from contrail.api import compare, estimate, evaluate, load, run, split, study
    from contrail.environment import SPLITS, Environment, Observation, Split, Step, Task
    from contrail.episode import Episode, Turn
    from contrail.errors import ConfigError, ContrailError, InvalidAction, PluginError, nearest
    from contrail.hookspecs import hookimpl
    from contrail.metrics.episode import EpisodeMetric
    from contrail.metrics.failures import FailureContext, FailureRule
    from contrail.metrics.scores import Scores
    from contrail.model.policy import Policy
    from contrail.model.teacher import Teacher
    from contrail.results import Comparison, Result, Study
    from contrail.runs.loras import lora_digest, lora_directories, trained_on
    from contrail.runs.run import Run
    from contrail.seeding import generator
    from contrail.stage import Stage, draw_tasks
    from contrail.strategy import StageContext, Strategy
    from contrail.training.decisions import Decisions
    from contrail.training.distillation import Distillation
    from contrail.training.gigpo import GiGPO
    from contrail.training.grpo import GRPO
    from contrail.training.learner import Learner
    from contrail.training.objective import Batch, Objective, Play, StageTasks
    from contrail.training.wrapper import ObjectiveWrapper

    __version__: str

__all__ = [
    "GRPO",
    "SPLITS",
    "Adapter",
    "Batch",
    "Comparison",
    "ConfigError",
    "ContrailError",
    "Decisions",
    "Distillation",
    "Environment",
    "Episode",
    "EpisodeMetric",
    "EpisodeView",
    "Exchange",
    "FailureContext",
    "FailureRule",
    "GiGPO",
    "InvalidAction",
    "Learner",
    "Objective",
    "ObjectiveWrapper",
    "Observation",
    "Play",
    "PluginError",
    "Policy",
    "Result",
    "Run",
    "Scores",
    "Split",
    "Stage",
    "StageContext",
    "StageTasks",
    "Step",
    "Strategy",
    "Study",
    "Task",
    "Teacher",
    "Turn",
    "compare",
    "draw_tasks",
    "estimate",
    "evaluate",
    "generator",
    "hookimpl",
    "list_actions",
    "load",
    "lora_digest",
    "lora_directories",
    "nearest",
    "read_action",
    "run",
    "split",
    "study",
    "trained_on",
]

_HOMES = {
    "actions": ["list_actions", "read_action"],
    "adapter": ["Adapter", "EpisodeView", "Exchange"],
    "api": ["compare", "estimate", "evaluate", "load", "run", "split", "study"],
    "environment": ["SPLITS", "Environment", "Observation", "Split", "Step", "Task"],
    "episode": ["Episode", "Turn"],
    "errors": ["ConfigError", "ContrailError", "InvalidAction", "PluginError", "nearest"],
    "hookspecs": ["hookimpl"],
    "metrics.episode": ["EpisodeMetric"],
    "metrics.failures": ["FailureContext", "FailureRule"],
    "metrics.scores": ["Scores"],
    "model.policy": ["Policy"],
    "model.teacher": ["Teacher"],
    "results": ["Comparison", "Result", "Study"],
    "runs.loras": ["lora_digest", "lora_directories", "trained_on"],
    "runs.run": ["Run"],
    "seeding": ["generator"],
    "stage": ["Stage", "draw_tasks"],
    "strategy": ["StageContext", "Strategy"],
    "training.decisions": ["Decisions"],
    "training.distillation": ["Distillation"],
    "training.gigpo": ["GiGPO"],
    "training.grpo": ["GRPO"],
    "training.learner": ["Learner"],
    "training.objective": ["Batch", "Objective", "Play", "StageTasks"],
    "training.wrapper": ["ObjectiveWrapper"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("contrail")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"contrail.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'contrail' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
