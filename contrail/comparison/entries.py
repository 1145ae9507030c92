"""An entry of a comparison's list of strategies: the strategy, its label, and what it sets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contrail.config import show
from contrail.errors import ConfigError

SETTABLE = re.compile(r"(grpo|lora)(\.|$)|stream\.(\d+|\*)\.(learn|train)(\.|$)")
"""The keys of the stream that an entry may set: all that leave alone what is tested, and how."""


@dataclass(frozen=True)
class Entry:
    """One row of a comparison."""

    label: str
    """Its name in tables."""
    strategy: Any
    """As in a stream file: a name, a mapping, or a list of these."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the stream that it sets besides."""

    @property
    def overrides(self) -> dict[str, str]:
        """What it sets, as overrides of the stream, by key."""
        return {key: f"{key}={json.dumps(item)}" for key, item in self.changes.items()} | {
            "strategy": f"strategy={json.dumps(self.strategy)}"
        }

    @property
    def differs(self) -> set[str]:
        """What it may differ in: sections of the configuration, and keys of a stage."""
        keys = [key.split(".") for key in self.changes]
        return {parts[2] if parts[0] == "stream" else parts[0] for parts in keys}


def read_entry(value: Any) -> Entry:
    """Return an entry.

    Raises:
        ConfigError: its label is no text, or it sets what cannot differ.
    """
    if not isinstance(value, dict):
        return Entry(default_label(value), value)
    label, changes = value.get("label", default_label(value)), value.get("set", {})
    if not isinstance(label, str):
        raise ConfigError(f"{show(label)} is no label. Write text.")
    if not isinstance(changes, dict):
        raise ConfigError(f"set: {show(changes)} is no mapping of the stream's keys to values.")
    for key in changes:
        if not isinstance(key, str) or not SETTABLE.match(key):
            raise ConfigError(
                f"set: {show(key)} cannot differ within a comparison. These can: grpo.KEY, "
                "lora.KEY, stream.N.learn and stream.N.train, where N is * or a number from 0."
            )
    rest = {name: item for name, item in value.items() if name not in ("label", "set")}
    return Entry(label, rest, changes)


def default_label(value: Any) -> str:
    """Return the name of an entry that has no label: the strategy's, with what is set."""
    if isinstance(value, (list, tuple)):
        return " + ".join(default_label(item) for item in value)
    if not isinstance(value, dict):
        return str(value)
    settings = {name: item for name, item in value.items() if name not in ("name", "set")}
    settings |= value["set"] if isinstance(value.get("set"), dict) else {}
    written = [
        f"{name}={item if isinstance(item, str) else show(item)}" for name, item in settings.items()
    ]
    return " ".join([str(value.get("name", "?")), *written])
