"""What the environments share that can follow AgentGym's rules: task ids, and how it reads an
action."""

from __future__ import annotations

import re

PREFIX = "agentgym-"


def task_id(number: int) -> str:
    """Return the id of the task that AgentGym numbers so: "agentgym-17"."""
    return f"{PREFIX}{number}"


def number_of(task_id: str) -> int:
    """Return AgentGym's number of a task.

    Raises:
        ValueError: the id is not of this form.
    """
    number = task_id.removeprefix(PREFIX)
    if number == task_id or not number.isdecimal():
        raise ValueError(f"{task_id!r} is not a task of AgentGym, such as {PREFIX}17.")
    return int(number)


def plain(action: str) -> str:
    """Return an action as AgentGym's clients send it: letters, digits and commas, single blanks."""
    return " ".join(re.sub(r"[^A-Za-z0-9, ]+", "", action).split())
