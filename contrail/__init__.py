"""Continual reinforcement fine-tuning of LLM agents over a stream of environments."""

from importlib.metadata import version

from contrail.adapter import Adapter
from contrail.environment import Environment, Observation, Step, Task
from contrail.errors import InvalidAction
from contrail.hookspecs import hookimpl
from contrail.strategy import Strategy

__version__ = version("contrail")
__all__ = [
    "Adapter",
    "Environment",
    "InvalidAction",
    "Observation",
    "Step",
    "Strategy",
    "Task",
    "hookimpl",
]
