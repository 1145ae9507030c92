"""Easy and hard tasks by a policy's own pass rate: the file that `contrail split` writes.

`pass_rates` among an environment's keys in stream.yaml names such a file. The environment then has
the tasks of the file, each with the difficulty "easy" or "hard".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contrail.environment import SPLITS, Task
from contrail.errors import ConfigError

FORMAT = "contrail split 1"
EASY, HARD = "easy", "hard"


@dataclass(frozen=True)
class TaskSplit:
    """The key `pass_rates` of an environment in stream.yaml."""

    file: str
    """The absolute path of a file that `contrail split` has written."""
    sha256: str
    """Of its content: a run goes on with the tasks that it began with."""


@dataclass(frozen=True)
class PassRates:
    """The pass rates of one environment's tasks, by split and task id."""

    rates: Mapping[str, Mapping[str, float]]
    threshold: float
    """A task is easy if its pass rate is at least this."""
    adapter: Mapping[str, Any] | None = None
    """The name and the settings of the adapter through which the tasks were played."""

    def applied(self, split: str, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks that have a pass rate, with their difficulty."""
        rates = self.rates.get(split, {})
        return [
            replace(task, difficulty=EASY if rates[task.id] >= self.threshold else HARD)
            for task in tasks
            if task.id in rates
        ]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def read_rates(path: Path, environment: Mapping[str, Any]) -> PassRates:
    """Return the pass rates of an environment.

    A version behind an interface shift that was not split itself has those of the version without:
    its tasks are the same, and easy and hard mean the same of both.

    Args:
        path: of a file that `contrail split` has written.
        environment: the environment's name and settings, as plain values.

    Raises:
        ConfigError: the file cannot be read, or has no tasks of this environment.
    """
    content = read_content(path)
    wanted = as_json(environment)
    unshifted = {name: value for name, value in wanted.items() if name != "shift"}
    found = [
        item
        for source in (wanted, unshifted)
        for item in content["environments"]
        if item["environment"] == source
    ]
    if not found:
        known = ", ".join(item["label"] for item in content["environments"])
        raise ConfigError(
            f"{path} has no pass rates of this environment with these settings; it has those of "
            f"{known}. Run `contrail split` with the same keys of the environment."
        )
    rates = found[0]["pass_rates"]
    missing = [split for split in SPLITS if not rates.get(split)]
    if missing:
        raise ConfigError(
            f"{path} has no {missing[0]} tasks of this environment. The `contrail split` that "
            "writes it has not ended: give its command again."
        )
    return PassRates(rates, content["threshold"], found[0].get("adapter"))


def read_content(path: Path) -> dict[str, Any]:
    """Return the content of a split's file.

    Raises:
        ConfigError: it cannot be read, or is another file.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a file that `contrail split` has written.")
    if fault := _fault(content):
        raise ConfigError(
            f"{path} is not as `contrail split` has written it: {fault}. Restore it, or run "
            "`contrail split` again."
        )
    return content


def as_json(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return an environment's name and settings as they are read back from a file: JSON has no
    numbers as keys."""
    found: dict[str, Any] = json.loads(json.dumps(environment))
    return found


def _fault(content: Mapping[str, Any]) -> str:
    """Return what is wrong with the content of a file that was edited; otherwise ""."""
    if not _is_share(content.get("threshold")):
        return "its threshold is no number from 0 to 1"
    entries = content.get("environments")
    if not isinstance(entries, list):
        return "it has no list of environments"
    for entry in entries:
        if not isinstance(entry, dict) or not {"label", "environment", "pass_rates"} <= set(entry):
            return "an environment lacks its label, its settings or its pass rates"
        if not isinstance(entry["pass_rates"], dict):
            return f"the pass rates of {entry['label']} are not by split"
        for split, rates in entry["pass_rates"].items():
            if not isinstance(rates, dict):
                return f"the pass rates of {entry['label']}, {split} tasks, are not by task"
            for task, rate in rates.items():
                if not _is_share(rate):
                    return f"the pass rate of the task {task} is no number from 0 to 1"
    return ""


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]
