"""Tables, to terminals and pipes; and readers that are gone, as in `contrail run … | head`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDE = 10_000  # letters of a line that is not for a terminal


def show(*parts: RenderableType) -> None:
    """Print tables and texts: to a terminal within its width, elsewhere with whole lines.

    Long names are folded, not cut. A pipe or a file has no width.
    """
    console = Console(highlight=False)
    for part in parts:
        for column in part.columns if isinstance(part, Table) else ():
            column.overflow = "fold"
    if console.is_terminal or "COLUMNS" in os.environ:
        for part in parts:
            console.print(part)
        return
    console.width = WIDE
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    console.print(Text("\n".join(lines)), soft_wrap=True)


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
    sys.stdout, sys.stderr = made
    try:
        yield
    finally:
        for output in made:
            output.flush()
        sys.stdout, sys.stderr = before
