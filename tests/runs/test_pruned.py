"""Which checkpoints within stages a run keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from contrail.runs.directory import RunDirectory
from contrail.runs.position import Position


def save(files: RunDirectory, *positions: Position) -> None:
    for position in positions:
        files.checkpoint(position).mkdir(parents=True, exist_ok=True)


def kept(files: RunDirectory) -> list[str]:
    return [position.name for position, _ in files.checkpoints()]


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 5, 1000])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    files = RunDirectory(tmp_path)
    for update in range(1, 9):
        save(files, Position(0, update))
        files.prune(keep, Position(0, update))
        newest = range(max(1, update - keep + 1), update + 1)
        assert kept(files) == [Position(0, number).name for number in newest]


def test_what_a_run_has_passed_over_takes_no_place(tmp_path: Path) -> None:
    """Three checkpoints are newer than the one that the run goes on from: damaged, or of a stage
    that has got further updates."""
    files = RunDirectory(tmp_path)
    save(files, Position(0), Position(0, 30), Position(0, 31), Position(1), Position(1, 2))
    for update in (11, 12, 13):
        save(files, Position(0, update))
        files.prune(2, Position(0, update))
        assert Position(0, update).name in kept(files)
    assert kept(files) == ["000", "001-00012", "001-00013"]
