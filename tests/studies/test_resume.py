"""A study that is killed and started again ends with the same page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import contrail

STUDY = """
model: tiny-random
environments:
  - {name: babyai, label: balls, levels: [GoToRedBallNoDists], max_turns: 3, train_tasks: 20}
  - {name: textcraft, label: craft, depths: [1], max_turns: 3}
seeds: [0]
updates: 2
evaluate: {tasks: 4}
grpo: {num_generations: 2, generation_batch_size: 4}
"""


def record(directory: Path) -> dict[str, object]:
    """What must be the same; times differ, and the name is the directory's."""
    found = json.loads((directory / "sequence.json").read_text())
    return {name: item for name, item in found.items() if name not in ("cpu_seconds", "name")}


@pytest.mark.slow
def test_a_killed_study_ends_with_the_same_page(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    whole = contrail.study("sequence", file, out=tmp_path / "whole", quiet=True)
    command = [sys.executable, "-m", "contrail", "study", "sequence", str(file), "-q", "--out"]
    killed = tmp_path / "killed"
    checkpoint = killed / "runs" / "sequential_balls-craft_seed0" / "checkpoints" / "001"
    process = subprocess.Popen([*command, str(killed)], start_new_session=True)
    while not checkpoint.is_dir():  # after its first stage, before its second
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "sequence.json").exists()
    time.sleep(1)  # its worker ends with it
    again = contrail.study("sequence", file, out=killed, quiet=True)
    assert record(killed) == record(tmp_path / "whole")
    assert again.verdicts == whole.verdicts
    # What other experiments have computed is not computed again.
    before = {path: path.stat().st_mtime_ns for path in killed.glob("runs/*/result.json")}
    contrail.study("mixture", file, out=killed, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Nor is a stage that it has in common with a run of another experiment.
    saved = {item["run"]: item for item in json.loads((killed / "runs/shared.json").read_text())}
    assert saved["sequential_balls_seed0"]["source"] == "sequential_balls-craft_seed0"
    assert saved["sequential_balls_seed0"]["updates"] == 2
