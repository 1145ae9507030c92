"""Whole runs: their files, their repetition, and what becomes of them when they are interrupted.

Processes of their own are forked from this one, which has imported all that they need; a plugin
holds them where they are to be killed, so that nothing depends on how fast the machine is.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Forked

from contrail.cli import app as cli
from contrail.errors import ConfigError, ContrailError
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 300  # seconds until a process that should have got somewhere is given up

STREAM = """
model: tiny-random
plugins: [guess.py, hold.py]
stream:
  - environment: {name: guess-number, max_turns: 3}
    updates: 3
  - environment: {name: textcraft, depths: [1], distractors: 10, max_turns: 3}
    updates: 2
evaluate: {tasks: 4}
grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}
"""

# Waits at the moment that the environment variable HOLD names, and says so in the file HELD.
HOLD = """
import os, time
from pathlib import Path
import contrail

def hold(moment):
    if os.environ.get("HOLD") == moment:
        held = Path(os.environ["HELD"])
        held.touch()
        while held.exists():
            time.sleep(0.02)

@contrail.hookimpl
def contrail_episodes(run, episodes):
    hold(f"update {run.update}")

@contrail.hookimpl
def contrail_stage_end(run, stage):
    hold(f"end of {stage.name}")
"""


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stream file, beside its plugins."""
    directory = tmp_path_factory.mktemp("stream")
    shutil.copy(EXAMPLES / "guess.py", directory)
    (directory / "hold.py").write_text(HOLD)
    (directory / "stream.yaml").write_text(STREAM)
    return directory / "stream.yaml"


@pytest.fixture(scope="module")
def undisturbed(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has happened to. Not to be changed."""
    return run_stream(stream, out=tmp_path_factory.mktemp("run") / "run", quiet=True).path


@contextlib.contextmanager
def held(stream: Path, out: Path, moment: str) -> Iterator[Forked]:
    """A process that runs the stream and waits at the moment."""
    flag = out.with_name(f"{out.name}.held")
    process = Forked(
        ["run", str(stream), "--out", str(out)],
        out.with_name(f"{out.name}.log"),
        {"HOLD": moment, "HELD": str(flag)},
    )
    try:
        deadline = time.monotonic() + WAIT
        while not flag.exists():
            assert process.returncode is None, process.said(".err")
            assert time.monotonic() < deadline, "the process never got there"
            time.sleep(0.02)
        yield process
    finally:
        process.end()


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command line, without the seconds that a process of its own takes."""
    monkeypatch.setattr(sys, "argv", ["contrail", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def result(run: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content: dict[str, Any] = json.loads((run / "result.json").read_text(), parse_constant=refuse)
    return content


def weights(run: Path, stage: int = 2) -> bytes:
    return (run / "checkpoints" / f"{stage:03}" / "adapter_model.safetensors").read_bytes()


def episodes(run: Path) -> dict[str, str]:
    logs = sorted((run / "episodes").iterdir())
    return {log.name: gzip.decompress(log.read_bytes()).decode() for log in logs}


def assert_same(run: Path, other: Path) -> None:
    for key in ("R", "interval", "metrics", "metric_intervals", "evaluations", "baselines"):
        assert result(run)[key] == result(other)[key], key
    counts = ("updates", "episodes", "generated_tokens")
    assert [result(run)["budget"][key] for key in counts] == [
        result(other)["budget"][key] for key in counts
    ]
    assert weights(run) == weights(other)
    assert episodes(run) == episodes(other)


def test_no_file_is_pickled(undisturbed: Path) -> None:
    assert not [p for p in undisturbed.rglob("*") if p.suffix in (".pt", ".pth", ".bin", ".pkl")]


def test_the_result(undisturbed: Path) -> None:
    content = result(undisturbed)
    assert content["environments"] == content["stages"] == ["guess-number", "textcraft"]
    assert content["trained"] == [["guess-number"], ["textcraft"]]
    assert [len(row) for row in content["R"]] == [2, 2, 2]
    assert [len(row) for row in content["interval"]] == [2, 2, 2]
    for row, intervals in zip(content["R"], content["interval"], strict=True):
        for score, (low, high) in zip(row, intervals, strict=True):
            assert 0 <= low <= score <= high <= 1
    assert set(content["metrics"]) == set(content["formulas"]) == set(content["metric_intervals"])
    assert content["metrics"]["delta_held_out"] is None  # there is no unseen environment
    budget = content["budget"]
    assert (budget["updates"], budget["episodes"]) == (5, 40)
    assert all(budget[key] > 0 for key in ("generated_tokens", "cpu_seconds", "wall_seconds"))
    assert [row["textcraft"]["tasks"] for row in content["evaluations"]] == [4, 4, 4]


def test_a_cell_of_R_is_the_mean_of_the_logged_episodes(undisturbed: Path) -> None:
    content = result(undisturbed)
    for stage, row in enumerate(content["R"]):
        log = episodes(undisturbed)[f"{stage:03}-evaluate.jsonl.gz"]
        played = [json.loads(line) for line in log.splitlines()]
        for environment, score in zip(content["environments"], row, strict=True):
            wins = [item["success"] for item in played if item["environment"] == environment]
            assert len(wins) == 4
            assert sum(wins) / len(wins) == score


def test_logged_episodes_are_token_ids_with_a_mask(undisturbed: Path) -> None:
    trained = episodes(undisturbed)["001-train.jsonl.gz"].splitlines()
    assert len(trained) == 3 * 8
    for line in trained:
        episode = json.loads(line)
        assert len(episode["token_ids"]) == len(episode["mask"])
        assert set(episode["mask"]) == {0, 1}
        assert len(episode["logprobs"]) == len(episode["turns"])
    assert [json.loads(line)["update"] for line in trained] == [0] * 8 + [1] * 8 + [2] * 8


def test_test_tasks_are_the_same_at_every_stage(undisturbed: Path) -> None:
    def tasks(stage: int) -> list[tuple[str, str]]:
        log = episodes(undisturbed)[f"{stage:03}-evaluate.jsonl.gz"]
        lines = [json.loads(line) for line in log.splitlines()]
        return [(line["environment"], line["task"]) for line in lines]

    assert tasks(0) == tasks(1) == tasks(2)


def test_the_same_seed_gives_the_same_run(stream: Path, undisturbed: Path, tmp_path: Path) -> None:
    again = run_stream(stream, out=tmp_path / "again", quiet=True).path
    assert_same(again, undisturbed)
    assert weights(again, 0) != weights(again, 1) != weights(again, 2)


def test_another_seed_gives_another_run(stream: Path, undisturbed: Path, tmp_path: Path) -> None:
    other = run_stream(stream, ["seed=1"], out=tmp_path / "other", quiet=True).path
    assert weights(other) != weights(undisturbed)
    assert episodes(other)["001-train.jsonl.gz"] != episodes(undisturbed)["001-train.jsonl.gz"]


def test_the_kept_configuration_repeats_the_run(undisturbed: Path, tmp_path: Path) -> None:
    again = run_stream(undisturbed / "config.yaml", out=tmp_path / "again", quiet=True).path
    assert_same(again, undisturbed)


@pytest.mark.slow
def test_killed_between_stages(stream: Path, undisturbed: Path, tmp_path: Path) -> None:
    with held(stream, tmp_path / "run", "end of guess-number") as process:
        assert (tmp_path / "run/checkpoints/001").is_dir()
        process.end()
    assert not (tmp_path / "run/result.json").exists()
    assert_same(run_stream(stream, out=tmp_path / "run", quiet=True).path, undisturbed)


@pytest.mark.slow
def test_killed_during_a_stage_while_another_process_is_refused(
    stream: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    with held(stream, run, "update 1") as process:
        assert not (run / "checkpoints/001").exists()
        before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
        assert main(monkeypatch, "run", stream, "--out", run, "-q") == 2
        assert "another process is running" in capsys.readouterr().err
        after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
        assert {p: t for p, t in after.items() if p.name != ".lock"} == {
            p: t for p, t in before.items() if p.name != ".lock"
        }
        process.end()
    # What a process killed while it was writing leaves behind.
    (run / "checkpoints/.001.partial").mkdir()
    (run / ".config.yaml.abcdefgh").touch()
    (run / "episodes/.001-train.jsonl.gz.abcdefgh").touch()
    assert_same(run_stream(stream, out=run, quiet=True).path, undisturbed)
    assert [path.name for path in run.rglob(".*")] == [".lock"]


@pytest.mark.slow
def test_interrupted_from_the_keyboard(
    stream: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with held(stream, run, "update 4") as process:  # the second of the second stage
        process.send(signal.SIGINT)
        run.with_name("run.held").unlink()  # it ends after this update
        out, err = process.wait(WAIT)
    assert process.returncode == 130
    assert f"interrupted; the same command goes on from the last checkpoint in {run}" in err
    assert "an update is finished first" in err
    assert "Traceback" not in err
    assert not out
    assert_same(run_stream(stream, out=run).path, undisturbed)
    assert f"going on from {run}/checkpoints/002-" in capsys.readouterr().err


def test_a_finished_run_only_reports(
    stream: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    kept = [run / "result.json", *run.glob("*/*")]
    before = {path: path.stat().st_mtime_ns for path in kept if "report" not in path.name}
    assert main(monkeypatch, "run", stream, "--out", run) == 0
    shown = capsys.readouterr()
    assert "Success: rows trained up to" in shown.out
    assert "has ended and is not run again" in shown.err
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_killed_before_anything_but_the_lock_was_there(tmp_path: Path) -> None:
    files = RunDirectory(tmp_path)
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.yaml.abcdefgh").touch()
    files.check_writable()
    (tmp_path / ".git").mkdir()
    with pytest.raises(ConfigError, match="not a run's"):
        files.check_writable()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "state.json"])
@pytest.mark.parametrize("keep", [0, 0.5], ids=["empty", "half"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    stream: Path,
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    keep: float,
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "result.json").unlink()
    damaged = run / "checkpoints/002" / name
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * keep)])
    assert_same(run_stream(stream, out=run).path, undisturbed)
    said = capsys.readouterr().err
    assert f"checkpoint {run}/checkpoints/002" in said
    assert f"going on from {run}/checkpoints/" in said


def test_a_checkpoint_without_one_of_its_files_is_passed_over(
    stream: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    (run / "result.json").unlink()
    (run / "checkpoints/002/adapter_model.safetensors").unlink()
    assert_same(run_stream(stream, out=run).path, undisturbed)
    assert f"{run}/checkpoints/002" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", "seed is 0 there and 1 now"),
        ("stream.1.updates=1", "stream.1.updates is 2 there and 1 now"),
        ("lora.r=8", "lora.r is 16 there and 8 now"),
    ],
)
def test_another_configuration_in_the_same_directory(
    stream: Path, undisturbed: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        run_stream(stream, [override], out=undisturbed, quiet=True)


def test_a_directory_that_is_no_run_is_left_alone(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty, and not a run's"):
        run_stream(stream, out=tmp_path, quiet=True)
    with pytest.raises(ContrailError, match=r"thesis\.tex is a file"):
        run_stream(stream, out=tmp_path / "thesis.tex/run", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc here")
def test_a_place_where_nothing_can_be_written(
    stream: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Root may write everywhere, as far as permissions go; not even root may here.
    assert main(monkeypatch, "run", stream, "--out", "/proc/contrail/run") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --out /proc/contrail/run: /proc cannot be written to")
    assert err.count("\n") == 1


def test_quiet(stream: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    short = ["stream.0.updates=1", "stream.1.updates=0"]
    run_stream(stream, short, out=tmp_path / "run", quiet=True)
    assert capfd.readouterr() == ("", "")
