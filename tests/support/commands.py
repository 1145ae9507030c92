"""Results of commands, for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]
