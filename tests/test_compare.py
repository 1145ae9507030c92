"""Whole comparisons: their processes, what they share, and what becomes of them when interrupted.

Processes that import all that a run needs take seconds each. Few are made of them: most runs are
made in this process, and the scheduling is tested with a worker that only pretends.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contrail import cli
from contrail.compare import launch, schedule, share
from contrail.compare.launch import compare_runs, compare_stream
from contrail.compare.plan import Request, read_plan
from contrail.errors import ConfigError, ContrailError
from contrail.launch import run_stream
from contrail.manager import Plugins, load_plugins
from contrail.rundir import RunDirectory

EXAMPLES = Path(__file__).parent.parent / "examples"
STREAM = """
model: tiny-random
plugins: [guess.py, anchored.py]
stream:
  - environment: {name: guess-number, label: short, max_turns: 2}
    updates: 1
  - environment: {name: guess-number, label: long, max_turns: 3}
    updates: 1
evaluate: {tasks: 3}
grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}
"""
# Different from `sequential` in the second stage alone, and with a state from then on.
ANCHORED = """
import contrail

class Anchored(contrail.Strategy):
    seen = 0

    def prefix(self, stage):
        return "sequential" if stage == 1 else "anchored"

    def draw(self, experience, update, count, rng):
        tasks = experience.sample(count, rng)
        return tasks[::-1] if experience.name == "long" else tasks

    def after_training_exp(self, loop):
        self.seen = loop.stage if loop.stage > 1 else 0

    def state_dict(self):
        return {"seen": self.seen} if self.seen else {}

@contrail.hookimpl
def contrail_strategies(register):
    register("anchored", Anchored)
"""
ASKED = Request(strategies=["sequential", "anchored"], seeds=[0, 1], jobs=2)
RUNS = [
    f"{strategy}_short-long_seed{seed}"
    for seed in (0, 1)
    for strategy in ("sequential", "anchored")
]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stream file, beside its plugins."""
    directory = tmp_path_factory.mktemp("stream")
    shutil.copy(EXAMPLES / "guess.py", directory)
    (directory / "anchored.py").write_text(ANCHORED)
    (directory / "stream.yaml").write_text(STREAM)
    return directory / "stream.yaml"


class Here:
    """In place of a process: the run is made on the spot."""

    stdin = None

    def __init__(self, command: Any, **options: Any) -> None:
        _, config, _, out = command[-4:]
        run_stream(config, out=out, quiet=True)

    def poll(self) -> int:
        return 0


@pytest.fixture(scope="module")
def compared(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison's directory. Not to be changed."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "subprocess", SimpleNamespace(Popen=Here, PIPE=None))
        patch.setattr(launch, "attempt", lambda configs: None)
        compare_stream(stream, (), ASKED, load_plugins(), out=out)
    return out


def result(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    return content


def assert_same(run: Path, other: Path) -> None:
    """Bit for bit, but for the seconds it took."""
    for key in ("R", "interval", "metrics", "metric_intervals", "evaluations", "environments"):
        assert result(run)[key] == result(other)[key], key
    for key, value in result(run)["budget"].items():
        assert key.endswith("seconds") or value == result(other)["budget"][key], key
    logs = [
        {log.name: gzip.decompress(log.read_bytes()) for log in path.glob("episodes/*")}
        for path in (run, other)
    ]
    assert logs[0] == logs[1]
    names = [sorted(p.name for p in path.glob("checkpoints/0*")) for path in (run, other)]
    assert names[0] == names[1]
    for name in names[0]:
        weights = [p / "checkpoints" / name / "adapter_model.safetensors" for p in (run, other)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
        states = [
            json.loads((p / "checkpoints" / name / "state.json").read_text()) for p in (run, other)
        ]
        for key in ("strategy", "evaluations"):
            assert states[0][key] == states[1][key]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_what_it_would_have_been_alone(compared: Path, tmp_path: Path, name: str) -> None:
    out = compared
    alone = run_stream(out / name / "config.yaml", out=tmp_path / "alone", quiet=True).path
    assert_same(out / name, alone)


def test_what_was_shared(compared: Path) -> None:
    out = compared
    shared = json.loads((out / "compare.json").read_text())["shared"]
    found = {(item["run"], item["rows"]) for item in shared["runs"]}
    # The base evaluation of the first run is everybody's; stage 1 of each seed is both strategies'.
    assert found == {(RUNS[1], 2), (RUNS[2], 1), (RUNS[3], 2)}
    assert shared["evaluations"] == 2 * (2 + 1 + 2)
    assert shared["updates"] == 2
    assert shared["cpu_seconds"] > 0


def test_interrupted_and_gone_on_with(
    stream: Path, compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own, which are ended and make only what is missing."""
    processes: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(schedule.subprocess, "Popen", Recorded)
    monkeypatch.setattr(launch, "attempt", lambda configs: None)
    said: list[str] = []

    def interrupt(text: str) -> None:
        said.append(text)
        if text.endswith("1 of at most 2 stages done"):
            raise KeyboardInterrupt

    asked = Request(strategies=["sequential", "anchored"], seeds=[0], jobs=2)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare_stream(stream, (), asked, load_plugins(), out=out, say=interrupt)
    # The second run waits for what the first has to give.
    assert said[0] == "sequential, short > long, seed 0: starts"
    assert [process.poll() for process in processes] == [130]
    assert not (out / "compare.json").exists()
    said.clear()
    compare_stream(stream, (), asked, load_plugins(), out=out, say=said.append)
    assert said[:2] == [
        "sequential, short > long, seed 0: goes on",
        f"anchored, short > long, seed 0: starts with 1 of 2 stages of {RUNS[0]}",
    ]
    assert [process.returncode for process in processes] == [130, 0, 0]
    for name in RUNS[:2]:
        assert_same(out / name, compared / name)
    said.clear()
    results = {name: (out / name / "result.json").stat().st_mtime_ns for name in RUNS[:2]}
    compare_stream(stream, (), asked, load_plugins(), out=out, say=said.append)
    assert said == ["2 of 2 runs are finished already"]
    assert results == {name: (out / name / "result.json").stat().st_mtime_ns for name in results}


def test_compare_json(compared: Path) -> None:
    out = compared

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    found = json.loads((out / "compare.json").read_text(), parse_constant=refuse)
    assert [Path(row["run"]).name for row in found["rows"]] == RUNS
    assert found["strategies"] == ["sequential", "anchored"]
    assert found["orders"] == [["short", "long"]]
    assert found["seeds"] == [0, 1]
    for row in found["rows"]:
        own = result(Path(row["run"]))
        assert row["R"] == own["R"]
        assert row["budget"] == own["budget"]
        assert (row["budget"]["updates"], row["budget"]["episodes"]) == (2, 8)


def test_a_report_of_the_comparison(
    compared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = compared
    assert main(monkeypatch, "report", out) == 0
    assert "Difference to sequential, paired by seed" in capsys.readouterr().out
    with (out / "compare.runs.csv").open() as file:
        assert [Path(row["run"]).name for row in csv.DictReader(file)] == RUNS
    for name in ("compare.png", "compare.curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert (out / "compare.tex").read_text().count(r"\\") == 3


def test_runs_are_compared_as_they_are(compared: Path, tmp_path: Path) -> None:
    out = compared
    found = compare_runs([out / name for name in RUNS], Request(), out=tmp_path / "again")
    planned = json.loads((out / "compare.json").read_text())
    assert found.comparison["summary"] == planned["summary"]
    assert found.comparison["rows"] == planned["rows"]
    compare_runs([out / name for name in RUNS], Request(), out=tmp_path / "again")


def test_runs_that_are_not_finished_or_no_runs(compared: Path, tmp_path: Path) -> None:
    out = compared
    unfinished = shutil.copytree(out / RUNS[0], tmp_path / "unfinished")
    (unfinished / "result.json").unlink()
    with pytest.raises(ContrailError, match="has not ended"):
        compare_runs([unfinished, out / RUNS[1]], Request(), out=tmp_path / "new")
    with pytest.raises(ContrailError, match="two runs or more"):
        compare_runs([out / RUNS[1]], Request(), out=tmp_path / "new")
    copied = shutil.copytree(out / RUNS[1], tmp_path / "copied")
    with pytest.raises(ConfigError, match="are the same strategy, order and seed"):
        compare_runs([out / RUNS[1], copied], Request(), out=tmp_path / "new")
    with pytest.raises(ConfigError, match="other runs are kept there"):
        compare_runs([out / name for name in RUNS[:2]], Request(), out=out)
    with pytest.raises(ConfigError, match="--seeds: these are finished runs"):
        compare_runs([out / name for name in RUNS[:2]], Request(seeds=[1]), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["contrail", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "sequential", "--seeds", "0,1"], "run anchored_short-long_seed0, and 1"),
        (["--strategies", "sequential,anchored", "--seeds", "0"], "_seed1, and 1 more is not part"),
        (["--strategies", "sequential,anchored", "--seeds", "0,1", "grpo.learning_rate=1e-3"],
         "grpo.learning_rate is 0.01 there and 0.001 now"),
        (["--strategies", "sequential,anchored", "--seeds", "0,1", "evaluate.tasks=2"],
         "evaluate.tasks is 3 there and 2 now"),
    ],
)  # fmt: skip
def test_another_plan_in_the_same_directory(
    compared: Path,
    stream: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    out = compared
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(monkeypatch, "compare", stream, *arguments, "--out", out) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_a_mistake_is_told_before_anything_is_written(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """What only making the environments can tell: a process of its own tries it."""
    (tmp_path / "s.yaml").write_text(
        stream.read_text().replace("[guess.py, anchored.py]", f"[{stream.parent}/guess.py]")
        + "\nstrategies: [sequential]\n"
    )
    out = tmp_path / "out"
    wrong = "stream.0.train.difficulty=hard"
    assert main(monkeypatch, "compare", tmp_path / "s.yaml", wrong, "--out", out) == 2
    assert "'short' has no training task of difficulty 'hard'" in capfd.readouterr().err
    assert not out.exists()


def test_runs_in_other_orders_take_the_base_evaluation_over(
    stream: Path, compared: Path, plugins: Plugins, tmp_path: Path
) -> None:
    """With the columns of their own order in result.json and the logs."""
    out = compared
    asked = Request(strategies=["anchored"], orders=[["long", "short"]], seeds=[3])
    run = read_plan(stream, (), asked, plugins).runs[0]
    ends = {}
    for name in ("given", "alone"):
        files = RunDirectory(tmp_path / name)
        files.path.mkdir()
        files.write_config(launch.to_yaml(run.config))
        if name == "given":
            saved = share.take_over(run, files, RunDirectory(out / RUNS[0]), 0)
            assert (saved.rows, saved.evaluations, saved.updates) == (1, 2, 0)
        ends[name] = run_stream(files.config, out=files.path, quiet=True).path
    assert result(ends["given"])["environments"] == ["long", "short"]
    assert_same(ends["given"], ends["alone"])


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins()


def test_a_state_that_a_prefix_forgot(
    stream: Path, compared: Path, plugins: Plugins, tmp_path: Path
) -> None:
    out = compared
    run = read_plan(stream, (), Request(strategies=["sequential"]), plugins).runs[0]
    source = RunDirectory(out / RUNS[1])  # of `anchored`
    with pytest.raises(ContrailError, match=r"'anchored' shares 2 of its stages.*keeps a state"):
        share.take_over(run, RunDirectory(tmp_path), source, 2)
    assert not list(tmp_path.glob("checkpoints/0*"))


# A worker that pretends: it makes checkpoints as a run does, and fails where it is told to.
PRETEND = """
import json, os, pathlib, sys, time
config, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
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
def pretend(stream: Path, tmp_path: Path, plugins: Plugins, monkeypatch: Any) -> Any:
    """Schedules pretended runs; returns the schedule, the (run, row) computed, and how many."""
    worker = tmp_path / "worker.py"
    worker.write_text(PRETEND)
    monkeypatch.setattr(schedule, "WORKER", (sys.executable, str(worker)))
    monkeypatch.setattr(schedule, "POLL", 0.02)

    def go(asked: Request, fail: str = "", **options: Any) -> Any:
        trace = tmp_path / "trace"
        trace.touch()
        monkeypatch.setenv("TRACE", str(trace))
        monkeypatch.setenv("FAIL", fail)
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        plan = read_plan(stream, (), asked, plugins)
        settings = {"jobs": 3, "sharing": True, "say": lambda text: None, **options}
        made = schedule.Schedule(plan.runs, out, plugins, **settings)
        made.go()
        lines = [line.split() for line in trace.read_text().splitlines()]
        trace.unlink()
        return made, {(name, int(row)) for name, row in lines}, len(lines)

    return go


def test_nothing_that_is_shared_is_computed_twice(pretend: Any) -> None:
    asked = Request(strategies=["sequential", "anchored"], orders="all", seeds=[0, 1])
    made, computed, count = pretend(asked)
    assert all(job.finished for job in made.jobs)
    assert count == len(computed)  # no run did a row twice
    rows = [sum(row == wanted for _, row in computed) for wanted in range(3)]
    # One base; a first stage for each order and seed; all second stages differ.
    assert rows == [1, 4, 8]
    assert sum(item.cpu_seconds for item in made.saved) == 10 * (7 + 4)
    assert sum(item.updates for item in made.saved) == 4
    assert sum(item.evaluations for item in made.saved) == 2 * (7 + 4)
    _, computed, _ = pretend(asked)
    assert not computed


def test_without_sharing_everything_is_computed(pretend: Any) -> None:
    asked = Request(strategies=["sequential", "anchored"], seeds=[0, 1])
    made, computed, _ = pretend(asked, sharing=False)
    assert len(computed) == 4 * 3
    assert not made.saved


def test_a_run_that_fails_does_not_lose_the_others(pretend: Any) -> None:
    asked = Request(strategies=["sequential", "anchored"], seeds=[0, 1])
    said: list[str] = []
    made, computed, _ = pretend(asked, fail="sequential_short-long_seed0", say=said.append)
    assert [job.finished for job in made.jobs] == [False, True, True, True]
    assert made.jobs[0].error.startswith("the server is away [")
    assert any("seed 0: failed: the server is away" in text for text in said)
    made, computed, _ = pretend(asked)  # it is tried again, with what the others have
    assert all(job.finished for job in made.jobs)
    assert {name for name, _ in computed} == {RUNS[0]}
    assert {row for _, row in computed} == {2}


def test_failures_are_told_at_the_end(
    pretend: Any, stream: Path, compared: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    out = shutil.copytree(compared, tmp_path / "copy")
    shutil.rmtree(out / RUNS[3])
    monkeypatch.setenv("FAIL", RUNS[3])
    monkeypatch.setattr(launch, "attempt", lambda configs: None)
    asked = ["--strategies", "sequential,anchored", "--seeds", "0,1"]
    assert main(monkeypatch, "compare", stream, *asked, "--out", out) == 1
    shown = capsys.readouterr()
    assert "failed: anchored, short > long, seed 1: the server is away" in shown.err
    assert "Runs are missing" in shown.out
    found = json.loads((out / "compare.json").read_text())
    assert len(found["rows"]) == 3
    assert found["summary"]["anchored"]["metrics"]["average_score"]["seeds"] == 1
    monkeypatch.setenv("FAIL", "seed")
    fresh = tmp_path / "fresh"
    assert main(monkeypatch, "compare", stream, *asked, "--out", fresh) == 2
    assert "all 4 runs failed. The first, sequential" in capsys.readouterr().err


def test_a_worker_ends_with_its_parent() -> None:
    """Killed like this, a parent cannot tell its children; its end of their pipe closes."""
    child = (
        "import threading, time\n"
        "from contrail.compare import worker\n"
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


def test_a_directory_of_something_else_is_left_alone(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty, and not a run's"):
        compare_stream(stream, (), ASKED, load_plugins(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
