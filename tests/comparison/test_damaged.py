"""Comparisons over runs that are damaged, in the hands of others, or cut short."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from compared import RUNS, Here, write_stream
from filelock import FileLock

from contrail.comparison import launch, share
from contrail.comparison.launch import compare_stream
from contrail.comparison.plan import ComparisonOptions
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import load_plugins
from contrail.runs.directory import RunDirectory

BOTH = ComparisonOptions(strategies=["sequential", "anchored"])
ALONE = ComparisonOptions(strategies=["sequential"])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    return Here.used(monkeypatch)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def alone(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of one run. Not to be changed."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        Here.used(patch)
        compare_stream(stream, (), ALONE, load_plugins(), out=out)
    return out


@pytest.fixture
def out(alone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(alone, tmp_path / "out"))


def compare(
    stream: Path, out: Path, asked: ComparisonOptions = BOTH
) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    found = compare_stream(stream, (), asked, load_plugins(), out=out, say=said.append)
    return found.comparison, said


@pytest.mark.parametrize(
    ("damaged", "reused"),
    [
        ("checkpoints/001/adapter_model.safetensors", 1),  # the base evaluation
        ("checkpoints/000/state.json", 0),
        ("episodes/001-evaluate.jsonl.gz", 1),
    ],
)
def test_what_is_damaged_is_not_reused(
    stream: Path, out: Path, tmp_path: Path, damaged: str, reused: int
) -> None:
    compare(stream, Path(shutil.copytree(out, tmp_path / "whole")))
    file = out / RUNS[0] / damaged
    file.write_bytes(file.read_bytes()[:-20])
    found, said = compare(stream, out)
    assert not found["failed"]
    assert any("is damaged. It is not reused." in text for text in said)
    assert sum(item["rows"] for item in found["shared"]["runs"]) == reused
    results = [
        json.loads((path / RUNS[1] / "result.json").read_text())
        for path in (out, tmp_path / "whole")
    ]
    assert results[0]["evaluations"] == results[1]["evaluations"]


def test_a_run_without_its_reports_counts_and_is_named(stream: Path, out: Path, here: Here) -> None:
    here.code = -9
    found, said = compare(stream, out)
    assert not found["failed"]
    assert any("finished. warning: its reports were not made: it was ended by" in t for t in said)
    here.code = 0
    _, said = compare(stream, out)
    assert any(f"`contrail report {out / RUNS[1]}` makes them" in text for text in said)


def test_a_record_that_is_damaged_costs_its_line_alone(stream: Path, out: Path) -> None:
    compare(stream, out)
    file = out / "shared.json"
    file.write_text(file.read_text()[:-20])
    found, said = compare(stream, out)
    assert json.loads(file.read_text()) == found["shared"]["runs"] == []
    assert any("shared.json cannot be read" in text for text in said)


@pytest.mark.parametrize("killed_at", [".000.partial", ".001.partial"])
def test_what_is_reused_is_counted_before_it_is_there(
    stream: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    undisturbed, _ = compare(stream, Path(shutil.copytree(out, tmp_path / "whole")))
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == killed_at:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(stream, out)
    monkeypatch.undo()
    assert json.loads((out / "shared.json").read_text())[0]["updates"] == 1
    Here.used(monkeypatch)
    found, _ = compare(stream, out)
    for key in ("evaluations", "updates"):
        assert found["shared"][key] == undisturbed["shared"][key] > 0


def test_a_plan_that_is_made_meanwhile_is_not_replaced(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*arguments: object) -> None:
        monkeypatch.setattr(launch, "attempt_runs", lambda *arguments: None)
        compare(stream, tmp_path / "out", ALONE)

    monkeypatch.setattr(launch, "attempt_runs", other)
    with pytest.raises(ConfigError, match="holds another comparison"):
        compare(stream, tmp_path / "out", ComparisonOptions(strategies=["anchored"]))


def test_a_directory_that_another_process_is_about_to_leave(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock", thread_local=False)
    lock.acquire()
    with pytest.raises(ContrailError, match="another process is running"):
        RunDirectory(tmp_path).locked().__enter__()
    threading.Timer(0.2, lock.release).start()
    with RunDirectory(tmp_path).locked(share.PATIENCE):
        assert not lock.is_locked


def test_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("contrail.runs.directory.FileLock.acquire", refuse)
    words = r"cannot be written to \(Read-only file system\)\. Choose another --out"
    with pytest.raises(ContrailError, match=words), RunDirectory(tmp_path).locked():
        pass
