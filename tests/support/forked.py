"""The command line in a process of its own, forked from this one: its imports are there already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Forked:
    """A process that runs `contrail` with these arguments.

    Args:
        arguments: of the command line.
        environment: further environment variables.
        log: its output goes to this file with the suffix `.out`, its errors to `.err`.
    """

    def __init__(
        self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        from contrail.compat.loading import load_libraries

        load_libraries(quiet=True)
        import contrail.runs.launch

        del contrail
        self._log = log
        context: Any = multiprocessing.get_context("fork")
        self.process = context.Process(target=_main, args=(arguments, log, environment or {}))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        code: int | None = self.process.exitcode
        return code

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()

    def wait(self, seconds: float) -> tuple[str, str]:
        """What it has printed and complained about, once it has ended."""
        self.process.join(seconds)
        return self.said(".out"), self.said(".err")

    def said(self, suffix: str) -> str:
        """What it has written so far."""
        return self._log.with_suffix(suffix).read_text()


def _main(arguments: list[str], log: Path, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    sys.stdout, sys.stderr = (log.with_suffix(end).open("w", 1) for end in (".out", ".err"))
    for number, file in ((1, sys.stdout), (2, sys.stderr)):
        os.dup2(file.fileno(), number)
    # As in a process that Python has started; in the background of a shell it would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["contrail", *arguments]
    from contrail.cli import main

    main()
