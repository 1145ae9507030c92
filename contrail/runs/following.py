"""Follows a run or a comparison from another process, by the files in its directory alone."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml

from contrail.errors import ContrailError
from contrail.progress.live import LIVE, PROGRESS

PLANS = ("plan.json", "compare.json")
"""Files of a comparison's directory."""
SILENT = 600.0
"""Seconds after which a run on another machine that says nothing is taken as stopped."""

State = Literal["waiting", "running", "finished", "stopped"]


@dataclass
class Following:
    """A run that is looked at again and again."""

    directory: Path
    config: dict[str, Any] = field(default_factory=dict)
    """The content of config.yaml; empty before the run has begun."""
    live: dict[str, Any] = field(default_factory=dict)
    """What is under way: see `contrail.progress.live`."""
    entries: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    """What has been done, by kind and number."""
    episode: dict[str, Any] | None = None
    """The last episode, as in the logs."""
    _read: dict[Path, int] = field(default_factory=dict)
    _size: int = 0

    def look(self) -> State:
        """Read what is new; return how the run stands."""
        if not self.config:
            with contextlib.suppress(OSError, yaml.YAMLError):
                content = yaml.safe_load((self.directory / "config.yaml").read_text())
                self.config = content if isinstance(content, dict) else {}
        self.live = _read_json(self.directory / LIVE)
        self._look_at_progress()
        self._look_at_episodes()
        return self._state()

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The updates that are done."""
        return [entry for entry in self.entries.values() if entry["kind"] == "update"]

    @property
    def environments(self) -> list[str]:
        """The environments of the evaluations that are done, and of the updates."""
        found = [entry["environment"] for entry in self.entries.values() if "environment" in entry]
        for entry in self.updates:
            found += [key.removeprefix("success/") for key in entry if key.startswith("success/")]
        return list(dict.fromkeys(found))

    def success(self, environment: str, kind: str) -> list[float]:
        """Return an environment's success, over the updates or the evaluations so far."""
        if kind == "update":
            values = [entry.get(f"success/{environment}") for entry in self.updates]
        else:
            own = [e for e in self.entries.values() if e.get("environment") == environment]
            values = [entry.get("success") for entry in own]
        return [value for value in values if value is not None]

    def scalars(self, name: str) -> list[float]:
        """Return a scalar of the updates so far."""
        return [entry[name] for entry in self.updates if entry.get(name) is not None]

    def _state(self) -> State:
        if self.live and "ended" not in self.live and _lives(self.live):
            return "running"
        if (self.directory / "result.json").is_file():
            return "finished"
        return "stopped" if self.live or self.config else "waiting"

    def _look_at_progress(self) -> None:
        path = self.directory / PROGRESS
        try:
            size = path.stat().st_size
            if size < self._size:
                self._size, self.entries = 0, {}
            with path.open("rb") as file:
                file.seek(self._size)
                new = file.read()
        except OSError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._size += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                key = (entry["kind"], entry["number"])
                self.entries.pop(key, None)  # a run that went on from a checkpoint repeats some
                self.entries[key] = entry

    def _look_at_episodes(self) -> None:
        """Find the last line of the log that was written last."""
        try:
            logs = [*(self.directory / "episodes").glob("*.jsonl.gz")]
            log = max(logs, key=lambda path: path.stat().st_mtime, default=None)
            if log is None:
                return
            size, known = log.stat().st_size, self._read.get(log, 0)
            if size == known:
                return
            with log.open("rb") as file:
                file.seek(known if size > known else 0)
                new = file.read()
        except OSError:
            return
        text, used = _members(new)
        self._read[log] = (known if size > known else 0) + used
        lines = text.splitlines()
        if lines:
            with contextlib.suppress(ValueError):
                self.episode = json.loads(lines[-1])


def find(directory: Path) -> Literal["run", "comparison"]:
    """Return what a directory holds.

    Raises:
        ContrailError: neither a run nor a comparison.
    """
    if not directory.is_dir():
        raise ContrailError(
            f"there is no directory {directory}. Name the one of a run or a comparison, for "
            "example runs/NAME; `contrail run` says where it is."
        )
    if any((directory / name).is_file() for name in PLANS):
        return "comparison"
    if (directory / "config.yaml").is_file() or (directory / ".lock").is_file():
        return "run"
    raise ContrailError(
        f"{directory} holds neither config.yaml nor plan.json, so it is not the directory of a run "
        "or a comparison. Name one of those under runs/."
    )


def planned(directory: Path) -> list[str]:
    """Return the directories of a comparison's runs, as seen from its own."""
    runs = _read_json(directory / PLANS[0]).get("runs")
    if isinstance(runs, list):
        return runs
    return [row["run"] for row in _read_json(directory / PLANS[1]).get("rows", [])]


def _lives(live: Mapping[str, Any]) -> bool:
    """Return whether the process that wrote it still runs."""
    if live.get("host") != socket.gethostname():
        return time.time() - float(live.get("time", 0)) < SILENT
    return bool(psutil.pid_exists(int(live["process"])))


def _members(data: bytes) -> tuple[str, int]:
    """Return the text of the whole members of gzipped data, and how many bytes these are."""
    text, used = [], 0
    while used < len(data):
        member = zlib.decompressobj(wbits=31)
        try:
            content = member.decompress(data[used:])
        except zlib.error:
            break
        if not member.eof:
            break
        text.append(content)
        used = len(data) - len(member.unused_data)
    return b"".join(text).decode(errors="replace"), used


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
