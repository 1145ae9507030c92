"""Computes the common beginnings of a comparison's runs once, and copies them.

The copies are checkpoints and episode logs, from which a run continues as it would have continued
alone. Two parts are shared:

- the base model's evaluation. It depends neither on the strategy nor on the order of the stages. It
  does depend on the seed: every seed has its own dice.
- the first stages, if everything that they depend on is the same (see `Strategy.cache_key`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contrail.comparison.plan import PlannedRun
from contrail.config import Component, RunConfig, identity, plain, to_dict
from contrail.errors import ConfigError, ContrailError, PluginError
from contrail.files import write_atomically
from contrail.registry.plugins import Plugins, blaming
from contrail.runs.directory import DamagedError, EpisodeLog, RunDirectory, read_checkpoint
from contrail.strategy import NOTHING_YET, Strategy
from contrail.stream.listing import listed
from contrail.tasks.selection import test_tasks

PATIENCE = 30.0
"""Seconds that a run's process may need to end once its comparison has been killed."""


@dataclass(frozen=True)
class Saved:
    """Rows of R that a run takes over from another run, and what they cost that run."""

    run: str
    source: str
    rows: int
    evaluations: int
    updates: int
    cpu_seconds: float
    first: int = 0
    """The first of these rows."""

    def without(self, later: Saved) -> Saved:
        """Return what is left of it if the rows of `later`, to the end, were not taken over."""
        end = self.first + self.rows
        if self.run != later.run or end <= later.first:
            return self
        if self.first >= later.first or end != later.first + later.rows:
            return replace(self, rows=0)
        return replace(
            self,
            rows=self.rows - later.rows,
            evaluations=self.evaluations - later.evaluations,
            updates=self.updates - later.updates,
            cpu_seconds=self.cpu_seconds - later.cpu_seconds,
        )


def row_keys(config: RunConfig, plugins: Plugins) -> list[str | None]:
    """Return one key per row of R, from the base model on.

    Two runs with the same key have computed the same up to that row. None: unknown, never share.

    Raises:
        PluginError: the strategy raised.
    """
    written = identity(to_dict(config))
    stages = written.pop("stream")
    # Only the meaning of these keys matters, which is in the stages and columns; plugins are code.
    for name in ("strategy", "adapter", "plugins"):
        del written[name]
    del written["evaluate"]["environments"]
    for stage, resolved in zip(stages, config.stream, strict=True):
        stage["adapter"] = plain(resolved.adapter)
    warmup = written.pop("warmup")
    common = {**written, "columns": _columns(config)}
    found: list[str | None] = [_digest(common)]
    if warmup is not None:
        # Its stage has the tasks of all stages, in whatever order these are.
        own = ("environment", "adapter", "train")
        tasks = sorted(json.dumps([stage[key] for key in own], sort_keys=True) for stage in stages)
        common["warmup"] = [warmup, tasks]
        found.append(_digest(common))
    for count in range(1, len(stages) + 1):
        prefixes = [_prefix(part, count, plugins) for part in config.strategies]
        known = None not in prefixes
        # In the order in which they act; strategies that have done nothing yet do not matter.
        acted = [prefix for prefix in prefixes if prefix != NOTHING_YET]
        begun = {**common, "stages": stages[:count], "prefix": acted}
        found.append(_digest(begun) if known else None)
    return found


def _prefix(component: Component, stage: int, plugins: Plugins) -> str | None:
    registered = plugins.strategies[component.name]
    with blaming("strategy", component.name, registered, "cache_key"):
        strategy: Strategy = registered.value(component.settings)
        key: object = strategy.cache_key(stage)
    if key is None or isinstance(key, str):
        return key
    raise PluginError(
        f"strategy {component.name!r} (plugin {registered.plugin!r}): cache_key({stage}) returned "
        f"{key!r:.80}; it must return a text, or None."
    )


def check_tasks(
    run: PlannedRun, others: Sequence[PlannedRun], directory: Path, plugins: Plugins
) -> None:
    """Refuse a run that would be tested on other tasks than those which are there.

    Args:
        run: to be made.
        others: runs of the same plan.
        directory: that they lie in.
        plugins: the loaded ones.

    Raises:
        ConfigError: an environment has other test tasks now.
        ContrailError: an environment cannot be made, or has no tasks.
    """
    files = [RunDirectory(directory / other.directory) for other in others]
    rows = {item.path.name: item.newest_state().get("evaluations", ()) for item in files}
    if not any(rows.values()):
        return
    with listed(run.config, plugins) as listing:
        tasks = {label: found["test"] for label, found in listing.tasks.items()}
    for name, label in itertools.product(rows, tasks):
        for row in rows[name]:
            now = {task.id for task in test_tasks(tasks[label], run.config.evaluate.tasks)}
            if label in row and (then := set(row[label]["scores"])) != now:
                raise ConfigError(
                    f"{label!r} has other test tasks than in {name}, which is there: {len(then)} "
                    f"then and {len(now)} now, {len(then & now)} in common. Undo what has changed "
                    "them (its data, or its code), or choose another --out."
                )


def last_row(files: RunDirectory) -> int:
    """Return the last row of R that a run has on disk, or -1."""
    found = sorted(files.checkpoint_folder.glob("[0-9][0-9][0-9]"))
    return int(found[-1].name) if found else -1


def take_over(
    run: PlannedRun,
    files: RunDirectory,
    source: RunDirectory,
    row: int,
    record: Callable[[Saved], None],
) -> None:
    """Copy rows of R, to the last that the run lacks, from a run that is equal up to `row`.

    Args:
        run: the run that is to go on from there.
        files: its directory.
        source: that of the run that has the row.
        row: which; for 0 the evaluation is copied, and the run makes its own adapter.
        record: takes what that saves, before the run has any of it: after a kill between them it
            would never be counted.

    Raises:
        DamagedError: a checkpoint or a log of the source is not as it was written.
        ContrailError: a process is running in the directory.
    """
    environments = [item.label for item in run.config.environments]
    with files.locked(PATIENCE):
        have = last_row(files)
        states = {
            number: read_checkpoint(source.checkpoint_folder / f"{number:03d}")
            for number in range(max(0, have), row + 1)
        }
        for log in sorted((source.path / "episodes").glob("*.jsonl.gz")):
            if have < int(log.name[:3]) <= row:
                _copy_log(log, files.path / "episodes" / log.name, environments)
        checkpoints = files.checkpoint_folder
        checkpoints.mkdir(exist_ok=True)
        state = states[row]
        foreign = sorted(set(state["strategy"]) - {item.name for item in run.config.strategies})
        if row and foreign:
            raise PluginError(
                f"the strategy {foreign[0]!r} shares {row} of its stages with {run.strategy!r}, "
                "but keeps a state of its own there. Its cache key should be its own."
            )
        if row == 0:
            record(_saved(files, source, have, row, states))
            own = {"strategy", "stage", "update", "log_size", "sha256"}
            given = {name: value for name, value in state.items() if name not in own}
            write_atomically(files.base, json.dumps(given).encode())
            return
        copies = {}
        for number in range(have + 1, row + 1):
            copies[number] = checkpoints / f".{number:03d}.partial"
            shutil.rmtree(copies[number], ignore_errors=True)
            shutil.copytree(source.checkpoint_folder / f"{number:03d}", copies[number])
        record(_saved(files, source, have, row, states))
        for number, partial in copies.items():
            partial.rename(checkpoints / f"{number:03d}")


def _saved(
    files: RunDirectory, source: RunDirectory, have: int, row: int, states: dict[int, Any]
) -> Saved:
    state = states[row]
    before = states.get(have, {"budget": {"updates": 0, "cpu_seconds": 0.0}})
    return Saved(
        run=files.path.name,
        source=source.path.name,
        rows=row - have,
        evaluations=(row - have) * len(state["evaluations"][0]),
        updates=state["budget"]["updates"] - before["budget"]["updates"],
        cpu_seconds=state["budget"]["cpu_seconds"] - before["budget"]["cpu_seconds"],
        first=have + 1,
    )


def record(path: Path, saved: list[Saved]) -> None:
    """Record what was saved, for a comparison that is continued later."""
    write_atomically(path, (json.dumps([asdict(item) for item in saved], indent=1) + "\n").encode())


def recorded(path: Path) -> list[Saved]:
    """Return what `record` kept.

    Raises:
        ContrailError: the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [Saved(**item) for item in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise ContrailError(
            f"{path} cannot be read: {error}. What runs have reused so far is not counted."
        ) from error


def _columns(config: RunConfig) -> list[Any]:
    """Return the columns and their evaluation in a canonical order: the stream's does not
    matter."""
    return sorted(
        (
            [plain(item), plain(config.adapter_of(item.label)), config.dice_of(item.label)]
            for item in config.environments
        ),
        key=lambda column: str(column[0]["label"]),
    )


def _copy_log(source: Path, target: Path, environments: list[str]) -> None:
    """Copy an episode log; if it holds an evaluation, with the columns in the run's order."""
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, source.read_bytes())
    if source.name.endswith("-evaluate.jsonl.gz"):
        try:
            EpisodeLog(target, None).arrange(environments)
        except DamagedError as error:
            raise DamagedError(f"{source} is damaged.") from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
