"""`contrail environments --baselines`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from contrail.adapter import Adapter
from contrail.baselines import (
    CONSTANT,
    EXPERT,
    NAMES,
    RANDOM,
    Baseline,
    Subject,
    baselines,
    warning,
)
from contrail.cli.list_environments import Selection
from contrail.cli.output import show
from contrail.environment import SPLITS
from contrail.errors import ContrailError
from contrail.names import visible
from contrail.registry.plugins import Plugins, blaming
from contrail.rollout.watchdog import telling
from contrail.tasks.selection import test_tasks
from contrail.workers.factory import EnvironmentFactory, no_tasks
from contrail.workers.pool import EnvironmentPool


@dataclass(frozen=True)
class Measured:
    """The baselines of one environment."""

    environment: str
    """Its name."""
    tasks: int = 0
    """The number of test tasks played."""
    max_turns: int | None = None
    """The number of turns after which an episode is cut off."""
    baselines: dict[str, Baseline | None] = field(default_factory=dict)
    """By the player's name; None if the player cannot play the environment."""
    missing: str = ""
    """The reason, if there are no baselines; otherwise ""."""

    def record(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        summaries = {
            name: None if baseline is None else baseline.summary()
            for name, baseline in self.baselines.items()
        }
        return {**vars(self), "baselines": summaries}


def measure_all(selection: Selection, plugins: Plugins, adapter: str, tasks: int) -> list[Measured]:
    """Measure the baselines of each environment.

    Args:
        selection: the environments.
        plugins: registers the adapter.
        adapter: the adapter through which the players act, with its default settings.
        tasks: the largest number of test tasks per environment.

    Raises:
        ContrailError: the adapter, or an environment that was named, cannot be made.
    """
    acting = plugins.adapters[adapter].value()
    found = []
    with Console(stderr=True).status("") as status:
        for make in selection.makers:
            try:
                say = functools.partial(_update, status)
                found.append(_measured(make, acting, tasks, say))
            except ContrailError as error:
                if selection.named:
                    raise
                found.append(Measured(make.name, missing=str(error)))
    return found


def _update(status: Status, text: str) -> None:
    status.update(Text(visible(text)))


def _measured(
    make: EnvironmentFactory, adapter: Adapter, count: int, say: Callable[[str], None]
) -> Measured:
    pool = EnvironmentPool({make.name: make})
    played = 0

    def progress() -> None:
        nonlocal played
        played += 1
        say(f"{make.name}: {played} episodes played")

    try:
        say(f"{make.name}: lists its tasks")
        environment = pool.take(make.name)
        with blaming("environment", make.name, make.registered, "tasks"):
            listed = {split: list(environment.tasks(split)) for split in SPLITS}
            if empty := next((split for split in SPLITS if not listed[split]), None):
                raise no_tasks(make.name, empty, make.own_settings)
            max_turns = environment.max_turns  # known once a worker process has answered
        pool.give(make.name, environment)
        chosen = test_tasks(listed["test"], count)
        subject = Subject(make.name, make, adapter, chosen, listed["train"])
        found = baselines(subject, pool, progress=progress, on_wait=telling(say, say))
        return Measured(make.name, len(chosen), max_turns, found)
    finally:
        pool.close()


def show_baselines(found: Sequence[Measured]) -> None:
    """Print the baselines as a table, with notes on how to read it."""
    table = Table("environment", "tasks", "turns", *NAMES, "constant action", box=None)
    table.pad_edge = False
    table.columns[0].no_wrap = True
    notes = []
    for item in found:
        players = {name: item.baselines.get(name) for name in NAMES}
        cells = [
            "–" if player is None or player.success is None else f"{player.success:.2f}"
            for player in players.values()
        ]
        constant = players[CONSTANT]
        action = constant.action if constant is not None else None
        turns = "–" if item.max_turns is None else str(item.max_turns)
        table.add_row(
            Text(visible(item.environment)),
            str(item.tasks or "–"),
            turns,
            *cells,
            Text(visible(action or "–")),
        )
        if item.missing:
            notes.append(f"{item.environment}: {item.missing}")
        random, expert = players[RANDOM], players[EXPERT]
        if said := warning(None if random is None else random.success):
            notes.append(f"{item.environment}: {said}")
        if expert is not None and expert.tasks < item.tasks:
            notes.append(f"{item.environment}: the expert has a play of {expert.tasks} tasks.")
        for name, player in players.items():
            if player is not None and player.fault_rate:
                notes.append(
                    f"{item.environment}: {name}: {player.fault_rate:.0%} of the episodes were "
                    f"faults of the environment, left out here. The first: {player.first_fault}"
                )
    show(table, *map(Text, notes))
