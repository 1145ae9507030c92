"""A run in a process of its own: what it prints, where it writes, and what it leaves."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
CONTRAIL = [sys.executable, "-c", "from contrail.cli import main; main()"]
WAIT = 300  # seconds until a process that should have got somewhere is given up


def result(run: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content: dict[str, Any] = json.loads((run / "result.json").read_text(), parse_constant=refuse)
    return content


def episodes(run: Path) -> dict[str, str]:
    logs = sorted((run / "episodes").iterdir())
    return {log.name: gzip.decompress(log.read_bytes()).decode() for log in logs}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:  # type: ignore[type-arg]
    """The shipped example in a process of its own, from another directory, without a terminal."""
    directory = tmp_path_factory.mktemp("elsewhere")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    }
    done = subprocess.run(
        [*CONTRAIL, "run", str(EXAMPLES / "guess.yaml"), "grpo.learning_rate=1e-2"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    return directory, done


def test_without_a_terminal_there_are_plain_lines(process: Any) -> None:
    _, done = process
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert re.search(r"^evaluate guess-number before training: success 0\.\d\d", done.stderr, re.M)
    assert re.search(r"^guess-number 3/3: success", done.stderr, re.M)
    assert "Warning" not in done.stderr
    assert "after 1: guess-number" in done.stdout  # the report alone
    assert "evaluate guess-number" not in done.stdout


def test_the_run_directory_holds_what_the_documentation_says(process: Any) -> None:
    run = process[0] / "runs/guess_grpo.learning_rate=1e-2"
    assert {path.name for path in run.iterdir()} == {
        ".lock",
        "R.png",
        "checkpoints",
        "config.yaml",
        "episodes",
        "progress.jsonl",
        "report.html",
        "training.png",
        "result.csv",
        "result.difficulty.csv",
        "result.json",
        "tensorboard",
    }
    assert [path.name for path in sorted(run.glob("checkpoints/*"))] == ["000", "001", "001-00003"]
    for checkpoint in run.glob("checkpoints/*"):
        names = {path.name for path in checkpoint.iterdir()}
        assert names >= {"adapter_config.json", "adapter_model.safetensors", "state.json"}
    assert list(episodes(run)) == [
        "000-evaluate.jsonl.gz",
        "001-evaluate.jsonl.gz",
        "001-train.jsonl.gz",
    ]
    assert (run / "R.png").read_bytes().startswith(b"\x89PNG")
    with (run / "result.csv").open() as file:
        rows = [row["stage_name"] for row in csv.DictReader(file)]
    assert rows == [
        name for name in ("base", "guess-number", "random", "expert") for environment in range(2)
    ]
    assert list((run / "tensorboard").glob("events*"))


def test_the_default_directory_is_named_after_the_command(process: Any) -> None:
    directory, _ = process
    run = directory / "runs/guess_grpo.learning_rate=1e-2"
    assert result(run)["environments"] == ["guess-number", "babyai"]
    assert result(run)["name"] == run.name


LOAD = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

def logits(model):
    with torch.no_grad():
        return model(torch.arange(40, 60)[None]).logits

base, checkpoints = sys.argv[1], sys.argv[2]
plain = logits(AutoModelForCausalLM.from_pretrained(base))
for stage in ("000", "001"):
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), f"{checkpoints}/{stage}"
    ).eval()
    model.generate(input_ids=torch.arange(40, 60)[None], max_new_tokens=4, do_sample=False)
    print(stage, (logits(model) - plain).abs().max().item())
assert not [name for name in sys.modules if name.split(".")[0] == "contrail"]
"""


def test_an_adapter_loads_without_contrail(process: Any, tmp_path: Path) -> None:
    checkpoints = process[0] / "runs/guess_grpo.learning_rate=1e-2/checkpoints"
    config = json.loads((checkpoints / "001/adapter_config.json").read_text())
    base = config["base_model_name_or_path"]
    assert Path(base, "config.json").is_file()
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    done = subprocess.run(
        [sys.executable, str(script), base, str(checkpoints)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert done.returncode == 0, done.stderr
    differences = dict(line.split() for line in done.stdout.splitlines())
    assert float(differences["000"]) == 0  # not trained yet
    assert float(differences["001"]) > 1e-3
