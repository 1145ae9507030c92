"""Versions, source, dates and hardware in result.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

import contrail
from contrail.runs.launch import run_stream
from contrail.runs.provenance import source

STREAM = """
model: tiny-random
dtype: float32
stream:
- {environment: {name: textcraft, depths: [1], max_turns: 2}, updates: 1}
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 2, generation_batch_size: 4}
"""


def test_a_result_says_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STREAM)
    run = run_stream(tmp_path / "s.yaml", out=tmp_path / "run", quiet=True).path
    result = json.loads((run / "result.json").read_text())
    found = result["provenance"]
    started, ended = (datetime.fromisoformat(found[key]) for key in ("started", "ended"))
    assert started <= ended
    assert started.utcoffset() == ended.utcoffset() is not None
    assert found["versions"]["contrail"] == contrail.__version__
    assert all(found["versions"][name][0].isdigit() for name in ("python", "torch", "trl"))
    assert found["hardware"]["dtype"] == "float32"
    assert found["hardware"]["threads"] == 1
    assert found["hardware"]["cores"] >= 1


def test_a_run_that_goes_on_keeps_the_date_of_its_start(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STREAM)
    run = run_stream(tmp_path / "s.yaml", out=tmp_path / "run", quiet=True).path
    (run / "result.json").unlink()
    for checkpoint in set((run / "checkpoints").iterdir()) - {run / "checkpoints/000"}:
        shutil.rmtree(checkpoint)
    file = run / "checkpoints/000/state.json"
    started = json.loads(file.read_text())["started"]
    time.sleep(1.1)  # dates are to the second
    run_stream(tmp_path / "s.yaml", out=run, quiet=True)
    assert json.loads((run / "result.json").read_text())["provenance"]["started"] == started


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(package, "init", "-q")
    git(package, "add", ".")
    git(package, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    return package


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_of_a_checkout(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert source(checkout) == {"commit": commit, "modified": False}
    (checkout / "note.txt").touch()
    assert source(checkout) == {"commit": commit, "modified": False}
    (checkout / "__init__.py").write_text("x = 1\n")
    assert source(checkout) == {"commit": commit, "modified": True}


def test_a_package_inside_another_repository_has_no_commit(checkout: Path) -> None:
    installed = checkout.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert source(installed) == {"commit": None, "modified": None}


def test_a_package_without_git_has_no_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source(tmp_path) == {"commit": None, "modified": None}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source(checkout) == {"commit": None, "modified": None}
