"""A run or a comparison, watched from another process by the files of its directory."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from rich.console import Console

from contrail.cli import watch
from contrail.errors import ContrailError
from contrail.progress.live import LIVE, PROGRESS, Live
from contrail.progress.reporter import Reporter, entry
from contrail.runs.following import Following, find
from contrail.runs.launch import run_stream

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("watched") / "smoke"
    return run_stream(ROOT / "examples/smoke.yaml", ["trackers=[]"], out=out).path


def write(directory: Path, **live: Any) -> None:
    now = {"process": os.getpid(), "host": socket.gethostname(), "time": time.time()}
    directory.mkdir(exist_ok=True)
    (directory / LIVE).write_text(json.dumps({**now, "name": "a 1/2", **live}))


def test_a_finished_run_is_followed_by_its_directory_alone(done: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(done, tmp_path / "elsewhere"))
    run = Following(copy)
    assert run.look() == "finished"
    result = json.loads((copy / "result.json").read_text())
    column = [row[0] for row in result["R"]]
    assert run.success("babyai", "evaluation") == pytest.approx(column)
    trained = [success for _, success in result["training"][0]["babyai"]]
    assert run.success("babyai", "update") == pytest.approx(trained)
    assert len(run.scalars("policy_entropy")) == 4
    with gzip.open(copy / "episodes/002-evaluate.jsonl.gz", "rt") as lines:
        assert run.episode == json.loads(lines.readlines()[-1])


def test_what_is_added_later_is_read_later(tmp_path: Path) -> None:
    run = Following(tmp_path)
    assert run.look() == "waiting"
    live = Live(tmp_path)
    scalars = {"success": 0.5, "success/a": 0.5, "policy_entropy": 1.2, "loss": 3.0}
    live.done({"kind": "update", "number": 1, **entry("a", 0, 2, scalars)})
    live.now({"name": "a 2/2", "count": 1, "total": 8, "left": 12.0}, force=True)
    assert run.look() == "running"
    assert (run.scalars("policy_entropy"), run.environments) == ([1.2], ["a"])
    with (tmp_path / PROGRESS).open("a") as file:
        file.write('{"kind": "update", "number": 2, "succ')  # half a line
    run.look()
    assert len(run.updates) == 1
    with (tmp_path / PROGRESS).open("a") as file:
        file.write('ess/a": 0.75}\n')
    live.done({"kind": "update", "number": 1, "success/a": 0.25})  # again, after a resumption
    run.look()
    assert run.success("a", "update") == [0.75, 0.25]


def test_a_process_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, process=ended.pid)
    assert Following(tmp_path).look() == "stopped"
    write(tmp_path, host="elsewhere")
    assert Following(tmp_path).look() == "running"
    write(tmp_path, host="elsewhere", time=time.time() - 1e4)
    assert Following(tmp_path).look() == "stopped"
    write(tmp_path, ended="Interrupted")
    assert Following(tmp_path).look() == "stopped"


def test_what_a_reporter_says_is_live(tmp_path: Path) -> None:
    with Reporter(2, 1, quiet=True) as reporter:
        reporter.live = Live(tmp_path)
        reporter.start("update", "a 1/2", 8)
        reporter.waiting("waiting for the environment a for 20 s: step('go') in task t")
        run = Following(tmp_path)
        assert run.look() == "running"
        assert run.live["waiting"].startswith("waiting for the environment a")
        reporter.done("", {"success": 0.5})
        run.look()
        assert "waiting" not in run.live
    assert run.look() == "waiting"  # for a result
    (tmp_path / "result.json").touch()
    assert run.look() == "finished"
    Live(tmp_path).end("Interrupted")
    assert run.look() == "finished"  # what was interrupted since has left the result
    (tmp_path / "result.json").unlink()
    assert run.look() == "stopped"


def test_a_snapshot_is_printed_where_there_is_no_terminal(done: Path, command: Command) -> None:
    shown = command("watch", done)
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert shown.out.startswith("smoke  finished")
    assert "babyai 2/2  textcraft 2/2" in shown.out
    assert "last episode: textcraft, " in shown.out
    assert "entropy" in shown.out


def test_a_comparison_has_a_line_for_each_run(done: Path, tmp_path: Path, command: Command) -> None:
    names = ["sequential_a_seed0", "replay_a_seed0"]
    (tmp_path / "plan.json").write_text(json.dumps({"runs": names}))
    shutil.copytree(done, tmp_path / "sequential_a_seed0")
    shown = command("watch", tmp_path)
    assert "1 of 2 runs finished" in shown.out
    lines = shown.out.splitlines()
    (first,) = [line for line in lines if line.startswith("sequential_a_seed0")]
    (second,) = [line for line in lines if line.startswith("replay_a_seed0")]
    assert "finished" in first
    assert "waiting" in second


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_a_terminal(done: Path, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    shown, goes_on = watch._run(done)()
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("…\n", "")  # no cell is cut
    assert not goes_on


def test_on_a_terminal_it_ends_with_the_run(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks: the run is under way, then it has ended."""
    looks = iter([("still under way", True), ("it has ended", False)])
    monkeypatch.setattr(watch, "EVERY", 0.0)
    monkeypatch.setattr(watch, "_run", lambda directory: lambda: next(looks))
    file = io.StringIO()
    monkeypatch.setattr(
        watch, "Console", lambda **settings: Console(file=file, force_terminal=True, width=80)
    )
    watch.watch(done)
    assert "it has ended" in file.getvalue()
    assert next(looks, None) is None


def test_ctrl_c_ends_the_watching(
    done: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def interrupted() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "_run", lambda directory: interrupted)
    ended = command("watch", done)
    assert ended.code == 130
    assert ended.err == "\ninterrupted\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "there is no directory"),
        (lambda path: path.mkdir(), "holds neither config.yaml nor plan.json"),
        (lambda path: path.write_text(""), "there is no directory"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "other")
    with pytest.raises(ContrailError, match=said) as refused:
        find(tmp_path / "other")
    assert "runs/" in str(refused.value)  # where to look instead
