"""Small runs in which a strategy, an objective, an adapter or a tracker is tried.

Stages over two environments, with the model `tiny-random`; a run takes a second. All
checkpoints are kept, so that an interruption at any of them can be had by removing the later ones.
"""

from __future__ import annotations

import copy
import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from contrail.check.surroundings import random_states
from contrail.check.world import NAME
from contrail.config import Source
from contrail.registry.plugins import Plugins
from contrail.registry.registered import Table
from contrail.runs.directory import RunDirectory, read_checkpoint
from contrail.runs.launch import run_stream
from contrail.runs.position import Position

UPDATES = 3  # of each stage
STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "dtype": "float32",
    "device": "cpu",
    "plugins": ["contrail.check.world"],
    "stream": [
        {"environment": {"name": NAME, "label": rule, "rule": rule}, "updates": UPDATES}
        for rule in ("north", "south", "north")
    ],
    "evaluate": {"tasks": 4, "baselines": False},
    "checkpoint": {"updates": 1, "keep": 1000},
    "trackers": [],
    "grpo": {"num_generations": 4, "generation_batch_size": 8, "learning_rate": 1e-2},
    "lora": {"r": 4},
}


@dataclass
class Trial:
    """A plugin under check, and small runs with it.

    Attributes:
        kind: "strategy", "objective", "adapter" or "tracker".
        name: under which it is registered.
        plugins: the loaded ones.
        settings: an instance of its `Config`; None for the default settings.
        environment: a registered environment for all stages, in place of the small one.
    """

    kind: str
    name: str
    plugins: Plugins
    settings: Any = None
    environment: str | None = None
    changed: list[str] = field(default_factory=list)
    """The libraries whose global random state was changed by the first run."""

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="contrail-check-")
        self._place = Path(self._folder.name)

    @property
    def plugin_class(self) -> type:
        """The class that is registered; not of a tracker, which is a module."""
        tables: dict[str, Table[Any]] = {
            "adapter": self.plugins.adapters,
            "strategy": self.plugins.strategies,
            "objective": self.plugins.objectives,
        }
        cls: type = tables[self.kind][self.name].value
        return cls

    def close(self) -> None:
        """Remove the runs."""
        self._folder.cleanup()

    @cached_property
    def plain(self) -> Path:
        """A run without it."""
        plugins = self.plugins.without(self.name) if self.kind == "tracker" else self.plugins
        return self._run("plain", self._stream(with_it=False), plugins)

    @cached_property
    def first(self) -> Path:
        """A run with it."""
        _ = self.plain  # all libraries are imported, which may set up a generator
        before = random_states()
        run = self._run("first", self._stream())
        after = random_states()
        self.changed = [name for name in after if before.get(name, after[name]) != after[name]]
        return run

    def again(self) -> Path:
        """The same run once more."""
        return self._run("again", self._stream())

    def extended(self) -> Path:
        """A run that was extended by each further update of its last stage, having ended before.

        Raises:
            ConfigError: it cannot be extended.
        """
        stream = self._stream()
        for updates in range(1, UPDATES + 1):
            stream["stream"][-1]["updates"] = updates
            place = self._run("extended", stream)
        return place

    def interruptions(self) -> list[Position]:
        """A position within each stage of the first run, another in each."""
        within: dict[int, list[Position]] = {}
        for position, _ in RunDirectory(self.first).checkpoints():
            if position.update:
                within.setdefault(position.stage, []).append(position)
        # The last of them stands at the end of the stage.
        return [found[min(1 + stage % 2, len(found) - 1) - 1] for stage, found in within.items()]

    def resumed(self, position: Position) -> Path:
        """The first run, interrupted at a position and gone on with."""
        place = self._place / f"resumed-{position.name}"
        shutil.copytree(self.first, place)
        (place / "result.json").unlink()
        for other, path in RunDirectory(place).checkpoints():
            if other > position:
                shutil.rmtree(path)
        return self._run(place.name, self._stream())

    def _stream(self, with_it: bool = True) -> dict[str, Any]:
        stream = copy.deepcopy(STREAM)
        if self.kind == "adapter":  # free text takes long
            stream["stream"] = stream["stream"][::2]
            for stage in stream["stream"]:
                stage["updates"] = 2
                stage["environment"]["max_turns"] = 2
            stream["evaluate"]["tasks"] = 1
            stream["grpo"] |= {"num_generations": 2, "generation_batch_size": 4}
        if self.environment is not None:
            for stage in stream["stream"]:
                stage["environment"] = self.environment
        settings = {} if self.settings is None else asdict(self.settings)
        named = {"name": self.name, **settings}
        if with_it and self.kind == "objective":
            for stage in stream["stream"]:
                stage["learn"] = named
        elif self.kind == "adapter" or (with_it and self.kind == "strategy"):
            stream[self.kind] = named
        return stream

    def _run(self, name: str, stream: dict[str, Any], plugins: Plugins | None = None) -> Path:
        plugins = plugins or self.plugins
        return run_stream(Source(stream), plugins=plugins, out=self._place / name, quiet=True).path


def difference(one: Path, other: Path) -> str | None:
    """Return where two runs differ first, as a clause; None if they are the same."""
    for when, mine, its in _common_checkpoints(one, other):
        for file in sorted({path.name for path in (*mine.iterdir(), *its.iterdir())}):
            if file.endswith(".safetensors") and _content(mine / file) != _content(its / file):
                what = "the weights" if file.startswith("adapter") else "tensors of the state"
                return f"{what} differ {when}"
        states = [_comparable(read_checkpoint(path)) for path in (mine, its)]
        for key in states[0]:
            if states[0][key] != states[1].get(key):
                return f"{WORDS[key]} differ {when}"
    for log in sorted((one / "episodes").iterdir()):
        if _content(log) != _content(other / "episodes" / log.name):
            return f"the episodes of {log.name.partition('.')[0]} differ"
    return None


WORDS = {
    "strategy": "states of the strategy",
    "learner": "states of the optimizer or the objective",
    "evaluations": "scores",
    "played": "numbers of episodes",
    "made": "numbers of updates",
    "budget": "budgets",
}
"""Parts of a checkpoint's state that two equal runs have in common."""


def weights_at(run: Path, row: int) -> bytes:
    """Return the weights after a stage."""
    return _content(RunDirectory(run).checkpoint(Position(row)) / "adapter_model.safetensors")


def budget(run: Path) -> dict[str, Any]:
    """Return the budget of a run."""
    found: dict[str, Any] = json.loads((run / "result.json").read_text())["budget"]
    return found


def _common_checkpoints(one: Path, other: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield the checkpoints of two runs in the order of training, with when they were made."""
    its = dict(RunDirectory(other).checkpoints())
    for position, path in RunDirectory(one).checkpoints():
        if position in its:
            after = f"after update {position.update} of stage {position.stage + 1}"
            yield (
                (after if position.update else f"after stage {position.stage}"),
                path,
                its[position],
            )


def _comparable(state: dict[str, Any]) -> dict[str, Any]:
    found = {key: state[key] for key in WORDS if key in state}
    found["budget"] = {
        key: value for key, value in state["budget"].items() if not key.endswith("_seconds")
    }
    return found


def _content(path: Path) -> bytes:
    if not path.is_file():
        return b""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content
