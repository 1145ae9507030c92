"""What a run is doing, in its directory, for those who watch it from elsewhere.

`progress.jsonl` has a line for each update and evaluation that is done; `.live.json` says what is
under way, and is gone when the run has come to its end. Neither is read by the run itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROGRESS = "progress.jsonl"
LIVE = ".live.json"
SECONDS = 1.0
"""Between two versions of `.live.json`, unless something has ended."""


class Live:
    """Writes what a run is doing.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written = 0.0
        self._begun = time.time()
        self.now({}, force=True)

    def now(self, state: Mapping[str, Any], force: bool = False) -> None:
        """Say what is under way; some calls are passed over, unless `force`."""
        if not force and time.monotonic() - self._written < SECONDS:
            return
        self._written = time.monotonic()
        content = {
            **state,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "begun": self._begun,
            "time": time.time(),
        }
        place = self._directory / LIVE
        new = place.with_name(f"{LIVE}.new")
        # A full disk ends a run where results are written, not here. No sync: it is of the moment.
        with contextlib.suppress(OSError):
            new.write_text(json.dumps(content))
            new.replace(place)

    def end(self, error: str | None) -> None:
        """Say that the run has ended.

        Args:
            error: the name of what ended it early; None if it has come to its end. Then the result
                says everything.
        """
        if error is not None:
            self.now({"ended": error}, force=True)
            return
        with contextlib.suppress(OSError):
            (self._directory / LIVE).unlink()

    def done(self, entry: Mapping[str, Any]) -> None:
        """Add a line about what is done."""
        with contextlib.suppress(OSError), (self._directory / PROGRESS).open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **entry}) + "\n")
