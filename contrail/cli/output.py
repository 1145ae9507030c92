"""Tables, to terminals and pipes; and readers that are gone, as in `contrail run … | head`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from contrail.errors import OutputError

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


class _Told:
    """A stream that tells that it cannot be written; readers that are gone are left alone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._telling():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._telling():
            self._stream.flush()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            _lead_nowhere(self._stream)  # Python would flush what is left, and say so once more
            raise OutputError(
                f"standard output cannot be written: {error.strerror}. Lead it to another place."
            ) from error

    def __getattr__(self, name: str) -> Any:
        if name == "_stream":  # a copy that has none yet
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def telling_of_output() -> Iterator[None]:
    """Context manager: an error of standard output is told as one, whoever prints.

    Raises:
        OutputError: it cannot be written.
    """
    before: IO[str] | None = sys.stdout
    if before is None:  # it was closed when Python began, and is written to in vain
        yield
        return
    sys.stdout = made = _Told(before)
    try:
        yield
    finally:
        sys.stdout = before
        with suppress(BrokenPipeError):
            made.flush()


def _lead_nowhere(stream: IO[str]) -> None:
    """Lead a stream's file descriptor nowhere, also for what others write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Output:
    """A stream whose text is dropped once its reader has gone."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            _lead_nowhere(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            _lead_nowhere(self._stream)

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
