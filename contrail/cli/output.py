"""Output that nobody reads on, as in `contrail run STREAM.YAML 2>&1 | head`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


class _Output:
    """A stream whose text is dropped once its reader has gone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Lead the file descriptor nowhere, also for what other libraries and processes write."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def outliving_readers() -> Iterator[None]:
    """Context manager, or decorator of a command whose results are files: it goes on where standard
    output or standard error is closed."""
    before = sys.stdout, sys.stderr
    made = _Output(sys.stdout), _Output(sys.stderr)
    sys.stdout, sys.stderr = made  # type: ignore[assignment]
    try:
        yield
    finally:
        for output in made:
            output.flush()
        sys.stdout, sys.stderr = before
