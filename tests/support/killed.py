"""For tests: a process that ends within a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.kill import differences
from contrail.runs.launch import run_stream
from contrail.training.learner import Learner


class Killed(Exception):
    """Stands for the end of a process: what is on disk is left as it is."""


@contextmanager
def killed_after(updates: int) -> Iterator[None]:
    """Context manager: the process ends after so many updates, before any is saved."""
    original = Learner.update
    made = []

    def update(self: Learner, *arguments: object) -> object:
        scalars = original(self, *arguments)  # type: ignore[arg-type]
        made.append(scalars)
        if len(made) == updates:
            raise Killed
        return scalars

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(Learner, "update", update)
        yield


def go_on_after_kills(path: Path, run: Path) -> None:
    """Run to the end in processes of which two are killed."""
    for _ in range(2):
        with killed_after(2):
            run_stream(path, ["checkpoint.updates=1"], out=run, quiet=True)
    run_stream(path, out=run, quiet=True)


def check_killed(path: Path, place: Path) -> None:
    """A run of which two processes are killed ends as the undisturbed one."""
    undisturbed = run_stream(path, out=place / "undisturbed", quiet=True).path
    go_on_after_kills(path, place / "killed")
    assert not differences(place / "killed", undisturbed)
