"""What the methods of a strategy must return. Each function raises TypeError or ValueError."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from contrail.environment import Task
from contrail.stage import Stage
from contrail.values import as_number, shown

TrainingTasks = Mapping[str, Collection[tuple[str, int]]]
"""The training tasks of a run by environment: the id and the seed of each."""


def stages(value: Any) -> list[Stage]:
    """Return the stages to train."""
    found = (
        list(value) if hasattr(value, "__iter__") else None
    )  # a stream of Avalanche's is no list
    if found is None or not all(isinstance(item, Stage) for item in found):
        raise TypeError(f"it must return a list of contrail.Stage; it returned {shown(value)}")
    if not found:
        raise ValueError("it returned no stage, so nothing would be trained")
    return found


def tasks(value: Any, count: int, known: TrainingTasks) -> Sequence[Task]:
    """Return the tasks of an update: training tasks, as the environments list them.

    Args:
        value: what was returned.
        count: how many there must be.
        known: the tasks that may be trained on.
    """
    if not isinstance(value, Sequence) or not all(isinstance(item, Task) for item in value):
        raise TypeError(f"it must return a list of contrail.Task; it returned {shown(value)}")
    for task in value:
        if task.environment not in known:
            raise ValueError(f"it returned the task {task}, of no environment of this run")
        if (task.id, task.seed) not in known[task.environment]:
            raise ValueError(
                f"it returned {task}, which is no training task of {task.environment!r}: what is "
                "trained on cannot be tested on. Return the tasks of stages as they are"
            )
    if len(value) != count:
        raise ValueError(
            f"it returned {len(value)} tasks where {count} were asked for; "
            "all strategies train on the same number of episodes"
        )
    return value


def bonus(value: Any, count: int) -> list[float]:
    """Return what is added to the advantage of each of `count` episodes; [] for nothing."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, (list, tuple)):
        wanted = "a list with a number for each episode, or an empty one"
        raise TypeError(f"it must return {wanted}; it returned {shown(value)}")
    numbers = [as_number(item, "a number of what it returned") for item in value]
    if len(numbers) not in (0, count):
        raise ValueError(f"it returned {len(numbers)} numbers for {count} episodes")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("it returned numbers that are not finite")
    return numbers


def terms(value: Any) -> Any:
    """Return an iterator over the terms of a loss."""
    if isinstance(value, torch.Tensor) or not hasattr(value, "__iter__"):
        raise TypeError(f"it must yield its terms, not return {shown(value)}: write `yield`")
    return iter(value)


def term(value: Any) -> torch.Tensor:
    """Return a term of a loss."""
    wanted = "it must yield tensors of shape (), each with a gradient"
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{wanted}; it yielded {shown(value)}, of type {type(value).__name__}")
    if value.numel() != 1:
        raise ValueError(f"{wanted}; it yielded one of shape {tuple(value.shape)}")
    if not value.requires_grad:
        raise ValueError(f"{wanted}; it yielded one that does not depend on the parameters")
    if not bool(value.detach().isfinite().all()):
        raise ValueError(f"{wanted}; it yielded {float(value.detach()):g}, which is not finite")
    return value


def manager(value: Any) -> AbstractContextManager[Any]:
    """Return a context manager."""
    if not isinstance(value, AbstractContextManager):
        raise TypeError(
            f"it must return a context manager; it returned {shown(value)}. Decorate it with "
            "contextlib.contextmanager, and yield once"
        )
    return value
