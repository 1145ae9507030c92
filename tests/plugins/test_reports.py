"""The reports that come with contrail, given a result made by hand."""

import copy
import csv
import io
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from results import MIXED, NAMES, make_result
from rich.console import Console

from contrail.metrics.scores import Scores
from contrail.plugins.reports import console, figures, table
from contrail.plugins.trackers import tensorboard
from contrail.tables import columns


def test_a_result_of_an_older_version_is_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = make_result(2)
    del result["episode_metrics"]
    console.contrail_report(result, str(tmp_path))
    table.contrail_report(result, str(tmp_path))
    shown = capsys.readouterr().out
    assert "fault rate" in shown
    assert "invalid action rate" not in shown  # it is undefined everywhere
    with open(tmp_path / "result.csv", newline="") as file:
        assert "invalid_action_rate" in next(csv.reader(file))
    assert not (tmp_path / "result.difficulty.csv").exists()


def test_csv_has_a_row_per_stage_and_environment(tmp_path):
    result = make_result(3, MIXED)
    table.contrail_report(result, str(tmp_path))
    with open(tmp_path / "result.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns(result)
    assert len(rows) == 4 * 3
    assert all(None not in row and None not in row.values() for row in rows)
    row = rows[3 * 3 + 1]
    assert (row["run"], row["strategy"], row["seed"]) == ("quick", "sequential", "3")
    assert (row["stage"], row["stage_name"]) == ("3", "babyai+textcraft+webshop")
    assert row["environment"] == "textcraft"
    assert float(row["success"]) == result["R"][3][1]
    assert [float(row["low"]), float(row["high"])] == result["interval"][3][1]
    assert float(row["change"]) == result["change"]["value"][3][1]
    assert float(row["change_high"]) == result["change"]["interval"][3][1][1]
    assert (row["turns"], row["tasks"], row["invalid_action_rate"]) == ("10.84", "32", "")
    undefined = rows[1 * 3 + 2]
    assert undefined["stage_name"] == "babyai"
    assert undefined["success"] == undefined["low"] == undefined["change"] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["result.csv"]


def test_a_report_that_fails_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "result.csv"
    path.write_text("old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(table.os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        table.contrail_report(make_result(), str(tmp_path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_markdown_is_one_table():
    lines = table.markdown(make_result(7, MIXED)).splitlines()
    assert len(lines) == 2 + 4
    assert {line.replace(r"\|", "").count("|") for line in lines} == {9}
    assert "**" in lines[3]
    assert table.UNDEFINED in lines[3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [8, 12, 24])
def test_folded_names_lose_nothing(name, width):
    lines = table.folded(name, width).splitlines()
    assert "".join(lines) == name
    assert max(map(len, lines)) <= width


def shown(result, directory, capsys):
    console.contrail_report(result, str(directory))
    return capsys.readouterr().out


@pytest.mark.parametrize("count", range(1, 9))
def test_tables_fit_80_columns(count, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stages = [(name,) for name in NAMES[: max(1, count - 1)]]
    result = make_result(count, stages)
    for evaluations in result["evaluations"] if count % 2 else ():  # as of free text
        for played in evaluations.values():
            played |= {"invalid_action_rate": 0.5, "cut_off_rate": 0.25}
    output = shown(result, tmp_path, capsys)
    lines = output.replace(str(tmp_path), "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in output
    assert "\N{HORIZONTAL ELLIPSIS}" not in output  # nothing was cut off
    for i, row in enumerate(result["R"]):
        for j, value in enumerate(row):
            ends = table.interval(result["interval"][i][j])
            assert table.number(value) in output
            assert ends in output
    own = [word for word in output.split("Change against")[0].split() if word.startswith("*")]
    assert len(own) == len(stages) + 1  # one for each stage, one in the legend


def test_the_console_says_everything(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "result.json").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "checkpoints").mkdir()
    result = make_result(3, MIXED)
    output = shown(result, tmp_path, capsys)
    for text in (
        "quick",
        "sequential",
        "seed 3",
        "base",
        "after 1: babyai",
        "textcraft+webshop",
        "delta held out",
        "mean_j R[T][j]",
        "625.2",
        "40 updates, 2,560 episodes, 1,234,567 generated tokens",
        "11 min 40 s CPU",
        str(tmp_path),
        "checkpoints/, result.json",
    ):
        assert text in output
    assert ".hidden" not in output
    line = next(line for line in output.splitlines() if line.startswith("delta held out"))
    assert table.UNDEFINED in line
    assert "None" not in output
    assert "nan" not in output


def test_the_console_survives_a_run_without_stages(tmp_path, capsys):
    assert "base" in shown(make_result(2, ()), tmp_path, capsys)


def size_of(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


@pytest.mark.parametrize(
    ("count", "stages"),
    [(1, [("babyai",)]), (2, ()), (2, [("babyai",), ("textcraft",)]), (8, [(n,) for n in NAMES])],
)
def test_heat_map(count, stages, tmp_path):
    figures.contrail_report(make_result(count, stages), str(tmp_path))
    width, height = size_of(tmp_path / "R.png")
    assert 600 <= width <= 2200
    assert 300 <= height <= 1600
    assert [path.name for path in tmp_path.iterdir()] == ["R.png"]


def test_heat_map_says_everything():
    result = make_result(3, MIXED)
    figure = figures.heat_map(result)
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    for row, ends in zip(result["R"], result["interval"], strict=True):
        for j, value in enumerate(row):
            assert table.number(value) in texts
            assert table.interval(ends[j]) in texts
    outlined = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(outlined) == 1 + 1 + 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("evaluated on", "trained up to")
    assert "quick" in figure.get_suptitle()


def test_heat_map_is_unknown_to_pyplot():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figures.heat_map(make_result())
    assert pyplot.get_fignums() == before


@pytest.fixture
def clock(monkeypatch):
    """Event files are read in the order of the seconds in their names: let no two share one."""
    from tensorboard.summary.writer import event_file_writer

    seconds = itertools.count(1_700_000_000)
    ticking = SimpleNamespace(time=lambda: float(next(seconds)))
    monkeypatch.setattr(event_file_writer, "time", ticking)


@dataclass
class FakeRun:
    directory: Path
    update: int = 0
    config_text: str = "model: tiny\nseed: 0\n"


def evaluation(success):
    metrics = {"reward": success, "turns": 4.0, "invalid_action_rate": None, "fault_rate": 0.0}
    return Scores({"t": success}, metrics, {"easy": {"success": success, "tasks": 1}})


def play(run, updates):
    """What the core loop tells the plugin, from the base evaluation to the last update."""
    tensorboard.contrail_run_start(run)
    if run.update == 0:
        tensorboard.contrail_evaluated(run, 0, {"babyai": evaluation(0.25)})
    for _ in range(updates):
        run.update += 1
        tensorboard.contrail_update(run, {"loss": float(run.update)})


def read(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    return events


def steps(directory, tag):
    return [event.step for event in read(directory).Scalars(tag)]


def test_tensorboard_holds_the_course_of_a_run(tmp_path, clock):
    run = FakeRun(tmp_path)
    play(run, 3)
    tensorboard.contrail_evaluated(run, 1, {"babyai": evaluation(0.75)})
    tensorboard.contrail_run_end(run)
    result = make_result()
    tensorboard.contrail_report(result, str(tmp_path))
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1), (2, 2), (3, 3)]
    success = events.Scalars("evaluate/babyai/success")
    assert [(e.step, e.value) for e in success] == [(0, 0.25), (3, 0.75)]
    assert "evaluate/babyai/invalid_action_rate" not in events.Tags()["scalars"]  # None: no point
    assert b"model: tiny" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    text = events.Tensors("R/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == table.markdown(result)
    (image,) = events.Images("R")
    assert (image.step, image.width > 500) == (40, True)


def test_a_resumed_run_shows_each_update_once(tmp_path, clock):
    killed = FakeRun(tmp_path)
    play(killed, 5)  # the last checkpoint was made at update 3, and nothing was closed
    assert steps(tmp_path, "train/loss") == [1, 2, 3, 4, 5]
    play(FakeRun(tmp_path, update=3), 4)
    assert steps(tmp_path, "train/loss") == [1, 2, 3, 4, 5, 6, 7]
    assert steps(tmp_path, "evaluate/babyai/success") == [0]
    tensorboard.contrail_run_end(killed)


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(tmp_path, clock):
    play(FakeRun(tmp_path), 2)
    run = FakeRun(tmp_path)
    play(run, 3)
    tensorboard.contrail_run_end(run)
    assert steps(tmp_path, "train/loss") == [1, 2, 3]
    assert steps(tmp_path, "evaluate/babyai/success") == [0]


def test_updates_are_on_disk_at_once(tmp_path):
    run = FakeRun(tmp_path)
    play(run, 1)
    assert steps(tmp_path, "train/loss") == [1]
    tensorboard.contrail_run_end(run)


def test_runs_side_by_side(tmp_path):
    first, second = FakeRun(tmp_path / "first"), FakeRun(tmp_path / "second")
    play(first, 1)
    play(second, 2)
    tensorboard.contrail_run_end(second)
    tensorboard.contrail_update(first, {"loss": 0.5})
    tensorboard.contrail_run_end(first)
    assert steps(first.directory, "train/loss") == [1, 1]
    assert steps(second.directory, "train/loss") == [1, 2]


def test_a_new_report_replaces_the_old_one(tmp_path, clock):
    run = FakeRun(tmp_path)
    play(run, 2)
    tensorboard.contrail_run_end(run)
    for _ in range(2):
        tensorboard.contrail_report(make_result(), str(tmp_path))
    events = read(tmp_path)
    assert len(events.Images("R")) == len(events.Tensors("R/text_summary")) == 1
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]


def test_reports_leave_the_result_alone(tmp_path, capsys):
    result = make_result(3, MIXED)
    before = copy.deepcopy(result)
    for plugin in (table, figures, tensorboard, console):
        plugin.contrail_report(result, str(tmp_path))
    assert result == before
    assert "R.png, result.csv, tensorboard/" in capsys.readouterr().out


def test_loading_the_reports_is_light():
    """`contrail --help` loads every plugin."""
    code = (
        "import sys, contrail.plugins.reports.console, contrail.plugins.reports.figures, "
        "contrail.plugins.reports.table, "
        "contrail.plugins.trackers.tensorboard; "
        "print([m for m in ('matplotlib', 'torch', 'tensorboard', 'numpy') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_after_a_warm_up_a_change_is_not_said_to_be_against_the_base_model(
    tmp_path, capsys, monkeypatch
):
    """The numbers of a row belong together: the end, less the score beside it, is the change."""
    monkeypatch.setenv("COLUMNS", "200")
    result = make_result(2)
    assert "against the base model" in console.answer(result)[0]
    scores = (0.1, 0.5, 0.75)
    for row, score in enumerate(scores):
        result["R"][row] = [score, score]
        result["change"]["value"][row] = [score - 0.5] * 2
    result |= {"warmup": True, "own": [[], ["babyai"]]}
    assert "+0.25" in console.answer(result)[0]
    assert "against the policy after the warm-up" in console.answer(result)[0]
    console.contrail_report(result, str(tmp_path))
    shown = capsys.readouterr().out
    assert "against the base model" not in shown
    line = next(
        line
        for line in shown.split("Change against the policy after the warm-up")[1].splitlines()
        if line.startswith("babyai ")
    )
    assert line.split()[2:5] == ["0.50", "0.75", "+0.25"]


def test_what_is_rounded_to_nothing_has_no_minus() -> None:
    from contrail.plugins.reports.comparison_tables import _cell
    from contrail.plugins.reports.table import interval, number

    assert [number(value) for value in (-0.001, -0.0, 0.001, -0.006)] == [
        *("0.00", "0.00", "0.00", "-0.01")
    ]
    assert number(-0.004, "+.2f") == "+0.00"
    assert number(-0.004, ".0%") == "0%"
    assert number(-4e-7, ".1e") == "-4.0e-07"
    assert interval([-0.004, 0.2], "+.2f") == "[+0.00, +0.20]"
    assert _cell({"mean": -0.001, "interval": [-0.004, 0.002]}, "+.2f") == (
        r"$+0.00$ {\scriptsize [+0.00, +0.00]}"
    )


def test_a_study_has_no_minus_either() -> None:
    from contrail.plugins.reports.study import cell_text, figure

    cell = {"mean": -0.001, "interval": [-0.004, 0.2]}
    assert cell_text(cell, signed=True) == "+0.00 [+0.00, +0.20]"
    assert cell_text(cell, signed=False) == "0.00 [0.00, 0.20]"
    criterion = {"text": "gain", "needed": False, "seeds": 2, "region": "above 0", **cell}
    assert figure(criterion) == "gain +0.00 [+0.00, +0.20], 2 seeds; wanted above 0"


def test_a_comparison_has_no_minus_either() -> None:
    from contrail.plugins.reports.comparison import _estimates

    value = {"mean": -0.001, "interval": [-0.004, 0.2]}
    nothing = {"mean": None, "interval": None, "difference": None}
    comparison = {
        "baseline": "a",
        "summary": {
            "a": {"metrics": {"forgetting": nothing}},
            "b": {"metrics": {"forgetting": {**value, "difference": value}}},
        },
    }
    for difference, shown in (
        (False, ["–", "0.00", "[0.00, 0.20]"]),
        (True, ["+0.00", "[+0.00, +0.20]"]),
    ):
        out = io.StringIO()
        made = _estimates(comparison, "metrics", {"forgetting": "forgetting"}, 80, difference)
        Console(file=out, width=80).print(made)
        cells = [
            line.removeprefix("a").removeprefix("b").strip() for line in out.getvalue().splitlines()
        ]
        assert cells[1:] == shown
