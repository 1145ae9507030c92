"""What an environment is doing at present, for another process to read."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SIZE = 4096
HEAD = struct.Struct("dI")
"""When it began, and the length of the text that follows."""


@dataclass(frozen=True)
class Activity:
    """A call of the environment that has not returned."""

    what: str
    """The call, with the task."""
    seconds: float
    """How long it has been running."""

    def __str__(self) -> str:
        return f"{self.what}, for {self.seconds:.0f} s"


class Doing:
    """A note in a file that two processes have in memory: writing it costs microseconds.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)

    @staticmethod
    def make(path: Path) -> None:
        """Make the file, with nothing in it."""
        path.write_bytes(bytes(SIZE))

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Context manager: the note says what is being done."""
        text = what.encode(errors="replace")[: SIZE - HEAD.size]
        self._memory[HEAD.size : HEAD.size + len(text)] = text
        self._memory[: HEAD.size] = HEAD.pack(time.time(), len(text))
        yield
        # After an exception it stays: the process may have to say where it was.
        self._memory[: HEAD.size] = HEAD.pack(0.0, 0)

    def read(self) -> Activity | None:
        """Return what is being done; None if nothing is."""
        begun, length = HEAD.unpack(self._memory[: HEAD.size])
        if not length:
            return None
        text = self._memory[HEAD.size : HEAD.size + length].decode(errors="replace")
        return Activity(text, time.time() - begun)
