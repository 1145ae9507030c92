"""Which runs of a comparison start when, and what becomes of them, with processes that pretend."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from compared import RUNS, Scripts, write_stream

from contrail.comparison import schedule
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.registry.plugins import load_plugins

# A worker that pretends: it makes checkpoints as a run does, and fails where it is told to.
PRETEND = """
import json, os, pathlib, sys, time
config, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
if any(name in out.name for name in os.environ["FAIL"].split(",") if name):
    print("an import warning\\nerror: the server is away", file=sys.stderr)
    sys.exit(2)
(out / "episodes").mkdir(exist_ok=True)
(out / "checkpoints").mkdir(exist_ok=True)
order = out.name.split("_")[1].split("-")
rows = [{name: {} for name in order}] * 3
with open(os.environ["TRACE"], "a") as trace:
    for row in range(3):
        final = out / "checkpoints" / f"{row:03d}"
        if not final.is_dir():
            if row or not (out / "checkpoints/base.json").is_file():
                print(out.name, row, file=trace, flush=True)
            time.sleep(0.3)
            partial = out / "checkpoints" / f".{row:03d}"
            partial.mkdir()
            budget = {"updates": row, "cpu_seconds": 10.0 * (row + 1)}
            state = {"stage": row, "sha256": {}, "strategy": {}, "budget": budget}
            (partial / "state.json").write_text(json.dumps(state | {"evaluations": rows[:row + 1]}))
            partial.rename(final)
(out / "result.json").write_text("{}")
"""


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: Any) -> Any:
    """Schedules pretended runs; returns the schedule, the (run, row) computed, and how many."""
    stream = write_stream(tmp_path)
    plugins = load_plugins()
    monkeypatch.setattr(schedule, "POLL", 0.02)

    def go(asked: ComparisonOptions, fail: str = "", **options: Any) -> Any:
        trace = tmp_path / "trace"
        trace.touch()
        monkeypatch.setenv("TRACE", str(trace))
        monkeypatch.setenv("FAIL", fail)
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        plan = read_plan(stream, (), asked, plugins)
        settings = {"jobs": 3, "sharing": True, "say": lambda text: None, **options}
        made = schedule.Schedule(plan.runs, out, plugins, Scripts(PRETEND), **settings)
        made.go()
        lines = [line.split() for line in trace.read_text().splitlines()]
        trace.unlink()
        return made, {(name, int(row)) for name, row in lines}, len(lines)

    return go


def test_nothing_that_is_shared_is_computed_twice(pretend: Any) -> None:
    asked = ComparisonOptions(strategies=["sequential", "anchored"], orders="all", seeds=[0, 1])
    made, computed, count = pretend(asked)
    assert all(job.finished for job in made.jobs)
    assert count == len(computed)  # no run did a row twice
    rows = [sum(row == wanted for _, row in computed) for wanted in range(3)]
    # One base for each seed; a first stage for each order and seed; all second stages differ.
    assert rows == [2, 4, 8]
    assert sum(item.cpu_seconds for item in made.saved) == 10 * (6 + 4)
    assert sum(item.updates for item in made.saved) == 4
    assert sum(item.evaluations for item in made.saved) == 2 * (6 + 4)
    _, computed, _ = pretend(asked)
    assert not computed


def test_what_another_plan_has_computed_is_reused(pretend: Any) -> None:
    pretend(ComparisonOptions(strategies=["sequential"]))
    said: list[str] = []
    made, computed, _ = pretend(ComparisonOptions(strategies=["anchored"]), say=said.append)
    assert {row for _, row in computed} == {2}
    assert said[0].endswith(f"starts with 1 of 2 stages of {RUNS[0]}")
    assert [(item.source, item.rows) for item in made.saved] == [(RUNS[0], 2)]
    damaged = made.jobs[0].files.path.with_name(RUNS[0]) / "config.yaml"
    damaged.write_text("stream: [")
    _, computed, _ = pretend(ComparisonOptions(strategies=["mixture"]), say=said.append)
    assert 0 not in {row for _, row in computed}  # the other one has it
    assert any(text.startswith(f"{RUNS[0]}: cannot be read, and is not reused: ") for text in said)


def test_without_sharing_everything_is_computed(pretend: Any) -> None:
    asked = ComparisonOptions(strategies=["sequential", "anchored"], seeds=[0, 1])
    made, computed, _ = pretend(asked, sharing=False)
    assert len(computed) == 4 * 3
    assert not made.saved


def test_a_run_that_fails_does_not_lose_the_others(pretend: Any) -> None:
    asked = ComparisonOptions(strategies=["sequential", "anchored"], seeds=[0, 1])
    said: list[str] = []
    made, computed, _ = pretend(asked, fail="sequential_short-long_seed0", say=said.append)
    assert [job.finished for job in made.jobs] == [False, True, True, True]
    assert made.jobs[0].error.startswith("the server is away [")
    assert any("seed 0: failed: the server is away" in text for text in said)
    made, computed, _ = pretend(asked)  # it is tried again, with what the others have
    assert all(job.finished for job in made.jobs)
    assert {name for name, _ in computed} == {RUNS[0]}
    assert {row for _, row in computed} == {2}


def test_why_a_process_ended() -> None:
    assert schedule._reason("20 of 25\n", -9).startswith("it was ended by SIGKILL, perhaps")
    assert schedule._reason("", -15) == "it was ended by SIGTERM. The last it said: it said nothing"
    assert schedule._reason("one\nerror: two\nlines\n", 2) == "two\nlines"


def test_a_worker_ends_with_its_parent() -> None:
    """Killed like this, a parent cannot tell its children; its end of their pipe closes."""
    child = (
        "import threading, time\n"
        "from contrail.comparison import worker\n"
        "threading.Thread(target=worker._end_with_parent, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"c = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE,\n"
        "    stdout=subprocess.PIPE, start_new_session=True)\n"
        "c.stdout.readline()\n"
        "print(c.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(pid, 0)  # it is there
        process.kill()
        deadline = time.monotonic() + 60
        while _lives(pid):
            assert time.monotonic() < deadline, "it outlived its parent"
            time.sleep(0.05)


def _lives(pid: int) -> bool:
    """Whether a process is there, and not only its entry that nobody has read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
