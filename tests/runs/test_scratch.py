"""What a run keeps outside its directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from contrail.runs.launch import run_stream
from contrail.training.learner import Learner

STREAM = """
model: tiny-random
stream: [{environment: {name: babyai, max_turns: 2}, updates: 1}]
evaluate: {tasks: 2, baselines: false}
grpo: {num_generations: 4, generation_batch_size: 8}
"""


def test_a_run_that_is_killed_within_a_stage_leaves_no_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stream.yaml").write_text(STREAM)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    update = Learner.update
    left: list[list[Path]] = []

    def look(self: Learner, *arguments: Any) -> Any:
        left.append(list(scratch.iterdir()))
        return update(self, *arguments)

    monkeypatch.setattr(Learner, "update", look)
    run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)
    assert left == [[]]
