"""A command whose output is closed, or that is interrupted before anything is saved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command

import contrail
from contrail.registry.plugins import load_plugins

STREAM = """model: tiny-random
stream: [{environment: {name: textcraft, depths: [1], max_turns: 2}, updates: 2}]
evaluate: {tasks: 2}
grpo: {num_generations: 2, generation_batch_size: 4}
"""


@pytest.mark.parametrize("first", ["head -n 1", "true"])
def test_a_run_outlives_the_readers_of_its_output(tmp_path: Path, first: str) -> None:
    (tmp_path / "s.yaml").write_text(STREAM)
    script = (
        f"set -o pipefail; {sys.executable} -m contrail run s.yaml --out run 2>&1 | {first} >read"
    )
    here = {"PYTHONPATH": str(Path(contrail.__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | here,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert len((tmp_path / "read").read_text().splitlines()) == (first != "true")
    assert (tmp_path / "run/result.json").is_file()
    assert (tmp_path / "run/result.csv").is_file()  # the reports are made as well


def test_text_that_nobody_reads_at_the_end() -> None:
    """Even what Python flushes as it ends is no error."""
    script = (
        "from contrail.cli.output import outliving_readers\n"
        "import sys, time\n"
        "with outliving_readers():\n"
        "    time.sleep(1)\n"
        "    for stream in (sys.stdout, sys.stderr): print('more', file=stream)\n"
        "sys.exit(3)\n"
    )
    command = f'set -o pipefail; {sys.executable} -c "$SCRIPT" 2>&1 | true'
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"SCRIPT": script},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_an_interruption_says_whether_there_is_a_checkpoint(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contrail, "run", interrupted)
    (tmp_path / "s.yaml").write_text(STREAM)
    done = command("run", "s.yaml", "--out", "run")
    assert done.code == 130
    assert "interrupted; the same command begins anew, for there is no checkpoint yet" in done.err
    (tmp_path / "run/checkpoints/000").mkdir(parents=True)
    done = command("run", "s.yaml", "--out", "run")
    assert done.code == 130
    assert "goes on from the last checkpoint in run" in done.err


def test_lists_are_whole_in_a_pipe(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    plugins = command("plugins").out
    assert "contrail.plugins.reports.comparison_figures" in plugins
    assert "…" not in plugins
    listed = command("strategies").out.splitlines()
    assert len(listed) == 1 + len(load_plugins().strategies.entries)  # an entry is a line
    assert not any(line.endswith(" ") for line in listed)
    for arguments in (["environments", "textcraft"], ["strategies", "replay"], ["models"]):
        assert "…" not in command(*arguments).out


def test_lists_fold_long_names_on_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plugins = command("plugins").out
    assert max(map(len, plugins.splitlines())) <= 80
    assert "…" not in plugins


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no such device")
def test_output_that_cannot_be_written_is_no_fault_of_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STREAM)
    contrail.run(tmp_path / "s.yaml", out=tmp_path / "run", quiet=True)
    here = os.environ | {"PYTHONPATH": str(Path(contrail.__file__).parents[1])}
    for words in (["report", str(tmp_path / "run")], ["strategies"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "contrail", *words],
                env=here,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=300,
            )
        assert done.returncode == 2
        assert done.stderr.startswith("error: standard output cannot be written: No space left")
        assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "run/result.csv").is_file()  # the other reports are made


def test_output_that_is_closed_is_written_to_in_vain() -> None:
    here = os.environ | {"PYTHONPATH": str(Path(contrail.__file__).parents[1])}
    done = subprocess.run(
        ["sh", "-c", '"$0" -m contrail strategies >&-', sys.executable],
        env=here,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
