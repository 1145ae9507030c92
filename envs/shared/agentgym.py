"""What the environments share that can follow AgentGym's rules: task ids, and how it reads an
action."""

from __future__ import annotations

import re
from pathlib import Path

from contrail import ConfigError
from contrail.envs.shared.data_files import read_json

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


def numbers_in(path: str) -> frozenset[int]:
    """Return the numbers of the tasks in one of AgentGym's files: [{"item_id": "webshop_17"}, …].

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    records = read_json(Path(path).expanduser())
    numbers = set()
    for record in records if isinstance(records, list) else [records]:
        name = record.get("item_id") if isinstance(record, dict) else record
        match = re.search(r"\d+$", str(name))
        if match is None:
            raise ConfigError(
                f"data: {path}: {str(record)[:80]} has no item_id that ends with a number."
            )
        numbers.add(int(match[0]))
    return frozenset(numbers)


def plain(action: str) -> str:
    """Return an action as AgentGym's clients send it: letters, digits and commas, single blanks."""
    return " ".join(re.sub(r"[^A-Za-z0-9, ]+", "", action).split())
