"""Stages with made-up tasks."""

from __future__ import annotations

from typing import Any

from contrail.environment import Task
from contrail.plugins.adapters.choose import Choose
from contrail.stage import Stage
from contrail.strategy import StageContext


def tasks(environment: str, count: int, difficulty: Any = None) -> list[Task]:
    return [Task(environment, f"{environment}/{n}", n, "train", difficulty) for n in range(count)]


def make_stage(name: str, listed: list[Task], updates: int = 10) -> Stage:
    return Stage(name, {name: listed}, {name: Choose()}, updates)


def make_context(
    number: int, stage: Any = None, learner: Any = None, policy: Any = None, play: Any = None
) -> StageContext:
    """The context of a stage, with what a test needs of it."""
    policy = learner.policy if policy is None and learner is not None else policy
    return StageContext(stage, number, policy, learner, seed=0, play=play)
