"""Whole comparisons: their processes, what they share, and what becomes of them when interrupted.

Processes that import all that a run needs take seconds each. Few are made of them: most runs are
made in this process, and the scheduling is tested with a worker that only pretends.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from compared import ASKED, RUNS, Here, Scripts, write_stream

from contrail.cli import app as cli
from contrail.comparison import launch, share
from contrail.comparison.launch import compare_runs, compare_stream
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.comparison.processes import WorkerProcess, Workers
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import Plugins, load_plugins
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import run_stream


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def compared(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison's directory. Not to be changed."""
    out = tmp_path_factory.mktemp("compare") / "out"
    with pytest.MonkeyPatch.context() as patch:
        Here.used(patch)
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
    rows = "checkpoints/[0-9][0-9][0-9]"
    names = [sorted(p.name for p in path.glob(rows)) for path in (run, other)]
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
    # The base evaluation and stage 1 of each seed are both strategies'.
    assert found == {(RUNS[1], 2), (RUNS[3], 2)}
    assert shared["evaluations"] == 2 * (2 + 2)
    assert shared["updates"] == 2
    assert shared["cpu_seconds"] > 0


# Beside `stream`'s plugins. Without it the run may have ended before anyone looks how far it is.
HOLD = """
import time
from pathlib import Path

import contrail

@contrail.hookimpl
def contrail_stage_start(run, stage):
    while stage.name == "long" and Path(__file__).with_name("hold").exists():
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_interrupted_and_gone_on_with(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    """In processes of their own, which are ended and make only what is missing."""
    stream = write_stream(tmp_path)
    stream.write_text(stream.read_text().replace("anchored.py]", "anchored.py, hold.py]"))
    stream.with_name("hold.py").write_text(HOLD)
    hold = stream.with_name("hold")
    hold.touch()
    processes: list[WorkerProcess] = []

    class Recorded:
        def start(self, arguments: Any, output: Any) -> WorkerProcess:
            processes.append(workers.start(arguments, output))
            return processes[-1]

    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Recorded()))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    said: list[str] = []

    def interrupt(text: str) -> None:
        said.append(text)
        if text.endswith("1 of at most 2 stages done"):
            raise KeyboardInterrupt

    asked = ComparisonOptions(strategies=["sequential", "anchored"], seeds=[0], jobs=2)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare_stream(stream, (), asked, load_plugins(), out=out, say=interrupt)
    hold.unlink()
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
    assert [process.poll() for process in processes] == [130, 0, 0]
    for name in RUNS[:2]:
        assert_same(out / name, compared / name)
    said.clear()
    results = {name: (out / name / "result.json").stat().st_mtime_ns for name in RUNS[:2]}
    compare_stream(stream, (), asked, load_plugins(), out=out, say=said.append)
    assert said == ["2 of 2 runs are finished already"]
    assert results == {name: (out / name / "result.json").stat().st_mtime_ns for name in results}


@pytest.mark.parametrize(
    "change",
    [
        "stream.1.updates=9",
        "evaluate.environments=[{name: guess-number, label: held, max_turns: 4}]",
    ],
)
def test_its_runs_are_not_extended(stream: Path, compared: Path, change: str) -> None:
    with pytest.raises(ConfigError, match="A comparison's runs are not extended"):
        compare_stream(stream, [change], ASKED, load_plugins(), out=compared)


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
    assert "Difference to sequential" not in capsys.readouterr().out
    assert main(monkeypatch, "report", out, "--full", "--figures", "pdf,svg") == 0
    assert "Difference to sequential, paired by seed" in capsys.readouterr().out
    assert (out / "compare.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (out / "compare.curves.svg").read_text()
    assert main(monkeypatch, "report", out, "--figures", "pgn") == 2
    assert "Did you mean 'png'" in capsys.readouterr().err
    with (out / "compare.runs.csv").open() as file:
        assert [Path(row["run"]).name for row in csv.DictReader(file)] == RUNS
    for name in ("compare.png", "compare.curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    table = (out / "compare.tex").read_text()
    assert table.count(r"\begin{tabular}") == table.count(r"\end{tabular}") == 4
    assert "Differences to sequential" in table
    assert table.count("\nanchored & ") == 4
    assert table.count("\nsequential & ") == 3


def test_runs_are_compared_as_they_are(compared: Path, tmp_path: Path) -> None:
    out = compared
    found = compare_runs([out / name for name in RUNS], ComparisonOptions(), out=tmp_path / "again")
    planned = json.loads((out / "compare.json").read_text())
    assert found.comparison["summary"] == planned["summary"]
    assert found.comparison["rows"] == planned["rows"]
    compare_runs([out / name for name in RUNS], ComparisonOptions(), out=tmp_path / "again")


def test_runs_that_are_not_finished_or_no_runs(compared: Path, tmp_path: Path) -> None:
    out = compared
    unfinished = shutil.copytree(out / RUNS[0], tmp_path / "unfinished")
    (unfinished / "result.json").unlink()
    with pytest.raises(ContrailError, match="has not ended"):
        compare_runs([unfinished, out / RUNS[1]], ComparisonOptions(), out=tmp_path / "new")
    with pytest.raises(ContrailError, match="two runs or more"):
        compare_runs([out / RUNS[1]], ComparisonOptions(), out=tmp_path / "new")
    copied = shutil.copytree(out / RUNS[1], tmp_path / "copied")
    with pytest.raises(ConfigError, match="are the same strategy, order and seed"):
        compare_runs([out / RUNS[1], copied], ComparisonOptions(), out=tmp_path / "new")
    with pytest.raises(ConfigError, match="another comparison is kept there"):
        compare_runs([out / name for name in RUNS[:2]], ComparisonOptions(), out=out)
    with pytest.raises(ConfigError, match="a run is kept there"):
        compare_runs([out / name for name in RUNS[:2]], ComparisonOptions(), out=out / RUNS[0])
    with pytest.raises(ConfigError, match="--seeds: these are finished runs"):
        compare_runs(
            [out / name for name in RUNS[:2]], ComparisonOptions(seeds=[1]), out=tmp_path / "new"
        )
    assert not (tmp_path / "new").exists()


def main(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["contrail", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategies", "sequential", "--seeds", "0,1"],
         ": anchored_short-long_seed0, and 1 more."),
        (["--strategies", "sequential,anchored", "--seeds", "0"],
         ": sequential_short-long_seed1, and 1 more."),
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


@pytest.mark.slow
def test_a_mistake_is_told_before_anything_is_written(
    stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, workers: Workers
) -> None:
    """What only making environments and policy can tell: a process of its own tries it."""
    (tmp_path / "s.yaml").write_text(
        stream.read_text().replace("[guess.py, anchored.py]", f"[{stream.parent}/guess.py]")
        + "\nstrategies: [sequential, kl]\n"
    )
    out = tmp_path / "out"
    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(workers))
    for wrong, message in {
        "stream.0.train.difficulty=hard": "'short' has no training task of difficulty 'hard'",
        "grpo.beta=0.1": "error: kl: strategy: grpo.beta is 0.1, a KL term against the base model",
    }.items():
        assert main(monkeypatch, "compare", tmp_path / "s.yaml", wrong, "--out", out) == 2
        assert message in capfd.readouterr().err
        assert not out.exists()


def test_runs_in_other_orders_take_the_base_evaluation_over(
    stream: Path, compared: Path, plugins: Plugins, tmp_path: Path
) -> None:
    """With the columns of their own order in result.json and the logs."""
    out = compared
    asked = ComparisonOptions(strategies=["anchored"], orders=[["long", "short"]], seeds=[0])
    run = read_plan(stream, (), asked, plugins).runs[0]
    ends = {}
    for name in ("given", "alone"):
        files = RunDirectory(tmp_path / name)
        files.path.mkdir()
        files.write_config(launch.to_yaml(run.config))
        if name == "given":
            taken: list[share.Saved] = []
            share.take_over(run, files, RunDirectory(out / RUNS[0]), 0, taken.append)
            [saved] = taken
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
    run = read_plan(stream, (), ComparisonOptions(strategies=["sequential"]), plugins).runs[0]
    source = RunDirectory(out / RUNS[1])  # of `anchored`
    taken: list[share.Saved] = []
    with pytest.raises(ContrailError, match=r"'anchored' shares 2 of its stages.*keeps a state"):
        share.take_over(run, RunDirectory(tmp_path), source, 2, taken.append)
    assert not taken
    assert not list(tmp_path.glob("checkpoints/0*"))


def test_failures_are_told_at_the_end(
    stream: Path, compared: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    out = shutil.copytree(compared, tmp_path / "copy")
    shutil.rmtree(out / RUNS[3])
    away = "import sys; print('error: the server is away', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Scripts(away)))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    asked = ["--strategies", "sequential,anchored", "--seeds", "0,1"]
    assert main(monkeypatch, "compare", stream, *asked, "--out", out) == 1
    shown = capsys.readouterr()
    assert "failed: anchored, short > long, seed 1: the server is away" in shown.err
    assert "Runs are missing" in shown.out
    found = json.loads((out / "compare.json").read_text())
    assert len(found["rows"]) == 3
    assert found["summary"]["anchored"]["metrics"]["average_score"]["seeds"] == 1
    fresh = tmp_path / "fresh"
    assert main(monkeypatch, "compare", stream, *asked, "--out", fresh) == 2
    assert "all 4 runs failed. The first, sequential" in capsys.readouterr().err


def test_a_directory_of_something_else_is_left_alone(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty, and not a run's"):
        compare_stream(stream, (), ASKED, load_plugins(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_is_not_mixed_with_a_comparison(stream: Path, compared: Path) -> None:
    run = compared / RUNS[0]
    before = sorted(run.rglob("*"))
    with pytest.raises(ConfigError, match="a run is kept there"):
        compare_stream(stream, (), ASKED, load_plugins(), out=run)
    assert sorted(run.rglob("*")) == before
