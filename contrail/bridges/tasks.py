"""Tasks by their ids, for the bridges."""

from __future__ import annotations

from collections.abc import Mapping

from contrail.environment import Task
from contrail.errors import ConfigError, nearest


def find_task(tasks: Mapping[str, Task], name: str) -> Task:
    """Return the task with this id.

    Raises:
        ConfigError: there is none.
    """
    if name not in tasks:
        raise ConfigError(f"no task is called {name!r}. {nearest(name, list(tasks)[:200])}")
    return tasks[name]
