"""Continual reinforcement fine-tuning of LLM agents over a stream of environments."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from contrail.adapter import Adapter
from contrail.environment import Environment, Observation, Step, Task
from contrail.errors import InvalidAction
from contrail.hookspecs import hookimpl
from contrail.strategy import Strategy

if TYPE_CHECKING:
    from contrail.stage import Stage

__version__ = version("contrail")
__all__ = [
    "Adapter",
    "Environment",
    "InvalidAction",
    "Observation",
    "Stage",
    "Step",
    "Strategy",
    "Task",
    "hookimpl",
]

# Imported when they are first read, since their modules import torch.
_LATER = {"Stage": "contrail.stage"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
