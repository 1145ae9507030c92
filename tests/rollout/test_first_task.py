"""A task is begun before a run writes anything; one that cannot begin may be the only one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from contrail import ConfigError, ContrailError, Observation, Task
from contrail.plugins.adapters.choose import Choose
from contrail.registry.plugins import load_plugins
from contrail.rollout.first_task import TRIES, try_tasks

ERRORS = {"over": ContrailError("it ends before it begins"), "bug": ValueError("a bug")}


class World:
    """Begins all tasks but those that are called like errors."""

    max_turns = 2
    system_prompt = ""
    begun: list[str]

    def reset(self, task: Task) -> Observation:
        self.begun.append(task.id)
        if task.id in ERRORS:
            raise ERRORS[task.id]
        if task.id == "wrong":
            raise ConfigError("a wrong setting")
        return Observation("Go.", ["north", "south"])


def begin(*names: str) -> list[str]:
    world = World()
    world.begun = []
    pool: Any = SimpleNamespace(take=lambda label: world, give=lambda label, item: None)
    config: Any = SimpleNamespace(name="textcraft", label="craft", shift=None)
    tasks = [Task("textcraft", name, 0, "train") for name in names]
    try_tasks(pool, config, tasks, ("choose", Choose()), load_plugins())
    return world.begun


@pytest.mark.parametrize("name", ["over", "bug"])
def test_the_next_task_is_tried(name: str) -> None:
    assert begin(name, name, "good") == [name, name, "good"]


def test_the_first_error_is_told_if_none_begins() -> None:
    with pytest.raises(ContrailError, match="ends before it begins"):
        begin("over", *["bug"] * (TRIES - 1), "good")


def test_a_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="a wrong setting"):
        begin("wrong", "good")
