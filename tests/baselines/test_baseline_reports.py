"""Where the players without a model are shown: reports, comparisons and the command."""

from __future__ import annotations

import copy
import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared import row
from results import MIXED, make_result

from contrail.cli import app as cli
from contrail.comparison.summary import summarise
from contrail.plugins.reports import comparison, console, figures, table
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import run_stream

PLUGIN = '''
import contrail

class Doors(contrail.Environment):
    """One of four doors is right, and the goal names it; `open`: how many are, besides."""

    from dataclasses import dataclass

    @dataclass
    class Config:
        open: int = 0

    max_turns = 1

    def tasks(self, split):
        return [contrail.Task("doors", f"{split}/{n}", n, split, n % 4) for n in range(40)]

    def reset(self, task):
        self.right = task.difficulty
        doors = [f"door {n}" for n in range(4)]
        return contrail.Observation(f"Goal: door {task.difficulty}", doors)

    def step(self, action):
        won = (int(action.split()[1]) - self.right) % 4 <= self.config.open
        return contrail.Step(contrail.Observation(""), float(won), terminated=True, success=won)

    def expert(self, task):
        return None if task.seed < 10 else [f"door {task.difficulty}"]

class Silent(Doors):
    def reset(self, task):
        super().reset(task)
        return contrail.Observation("Say something.")

@contrail.hookimpl
def contrail_environments(register):
    register("doors", Doors)
'''


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def with_baselines(count: int = 3, random: float = 0.31) -> dict[str, Any]:
    """A result whose last environment has no players that can play it."""
    result: dict[str, Any] = make_result(count, MIXED)
    played = {"reward": 0.5, "turns": 7.25, "tasks": 32, "interval": None}
    result["baselines"] = {
        name: {"random": {"success": random, **played}, "expert": {"success": 0.97, **played}}
        for name in result["environments"]
    }
    result["baselines"][result["environments"][-1]] = {"random": None, "expert": None}
    gains = [
        [None if score is None else score - random for score in row[:-1]] + [None]
        for row in result["R"]
    ]
    result["over_random"] = {
        "value": gains,
        "interval": [[gain and [gain - 0.2, gain + 0.2] for gain in row] for row in gains],
    }
    return result


def test_rows_above_and_below() -> None:
    rows = table.shown_rows(with_baselines())
    names = [row.name for row in rows]
    assert names[:2] == ["random", "base"]
    assert names[-2:] == ["after 3: babyai+textcraft+webshop", "expert"]
    assert [row.stage for row in rows] == [None, 0, 1, 2, 3, None]
    assert rows[0].scores == [0.31, 0.31, None]
    assert rows[-1].scores == [0.97, 0.97, None]
    assert len(table.shown_rows(make_result(3, MIXED))) == 4  # of a run before there were any


def test_a_player_that_plays_nowhere_has_no_row() -> None:
    result = with_baselines()
    for players in result["baselines"].values():
        players["expert"] = None
    assert [row.name for row in table.shown_rows(result)][-1].startswith("after 3")


def test_csv(tmp_path: Path) -> None:
    result = with_baselines()
    result["baselines"]["babyai"]["random"]["interval"] = [0.2, 0.4]
    table.contrail_report(result, str(tmp_path))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "result.csv").read_text())))
    assert len(rows) == 4 * 3 + 2 * 3
    first = rows[4 * 3]
    assert (first["stage"], first["stage_name"], first["environment"]) == ("", "random", "babyai")
    assert (first["success"], first["turns"], first["tasks"]) == ("0.31", "7.25", "32")
    assert (first["low"], first["high"], first["change"]) == ("0.2", "0.4", "")
    assert rows[-1]["stage_name"] == "expert"
    assert rows[-1]["success"] == ""


def test_markdown() -> None:
    lines = table.markdown(with_baselines()).splitlines()
    assert lines[2].startswith("| *random* | 0.31 | 0.31 | – |")
    assert lines[-1].startswith("| *expert* | 0.97 |")


@pytest.mark.parametrize("count", [1, 3, 8])
def test_console(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = with_baselines(count) if count > 2 else with_baselines(3)
    console.contrail_report(result, str(tmp_path))
    output = capsys.readouterr().out
    lines = output.replace(str(tmp_path), "").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["random", "0.31"] for line in lines)
    assert any(line.split()[:2] == ["expert", "0.97"] for line in lines)
    over = result["R"][-1][0] - 0.31
    changed = output.split("Change against the base model and random play")[1]
    line = next(line for line in changed.splitlines() if line.startswith("babyai"))
    assert line.split()[-3:] == [f"{over:+.2f}", f"[{over - 0.2:+.2f},", f"{over + 0.2:+.2f}]"]
    assert "says little about skill" not in output


def test_the_console_warns_of_easy_environments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.contrail_report(with_baselines(random=0.6), str(tmp_path))
    output = " ".join(capsys.readouterr().out.split())
    assert "babyai: random play solves 0.60 of the tasks" in output
    assert "webshop: random play" not in output


def test_a_transfer_matrix_has_changes_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {**with_baselines(), "restarts": True}
    console.contrail_report(result, str(tmp_path))
    output = capsys.readouterr().out
    assert output.count("0.97") == 2  # in the first matrix, not in that of the changes


def test_heat_map() -> None:
    result = with_baselines()
    before = copy.deepcopy(result)
    figure = figures.heat_map(result)
    axes = figure.axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[:3] == ["random", "base", "1: babyai"]
    assert labels[-1] == "expert"
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("0.31") == texts.count("0.97") == 2
    assert len(axes.lines) == 2  # set apart from R
    outlined = [patch for patch in axes.patches if not patch.get_fill()]
    assert len(outlined) == 1 + 1 + 3
    assert len(figures.heat_map(make_result(3, MIXED)).axes[0].lines) == 0
    assert result == before


def test_a_comparison_has_them_below_the_strategies(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    R = [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [0.5, 0.5, 0.2]]
    rows = [row(name, R, seed=seed) for name in ("sequential", "replay") for seed in range(2)]
    summarised = summarise(
        "name", rows, ["sequential", "replay"], [("babyai", "textcraft")], [0, 1], "sequential"
    )
    references = summarised["references"]
    assert references["random"] == {"babyai": None, "textcraft": None, "webshop": None}
    for item in rows:
        item.result["baselines"] = {
            "babyai": {"random": {"success": 0.11}, "expert": {"success": 0.99}},
            "webshop": {"random": None, "expert": None},
        }
    rows[0].result["R"] = [[0.6, 0.3, None], *R[1:]]
    summarised = summarise(
        "name", rows, ["sequential", "replay"], [("babyai", "textcraft")], [0, 1], "sequential"
    )
    references = summarised["references"]
    assert references["random"] == {"babyai": 0.11, "textcraft": None, "webshop": None}
    assert references["expert"]["babyai"] == 0.99
    assert references["base"] == pytest.approx({"babyai": 0.45, "textcraft": 0.3, "webshop": 0.2})
    comparison.contrail_comparison({**summarised, "failed": {}, "shared": None}, str(tmp_path))
    output = capsys.readouterr().out
    success = output.split("Success at the end")[1].split("\n\n")[0]
    last = [line.split() for line in success.splitlines()[-3:]]
    assert last == [
        ["random", "0.11", "–", "–"],
        ["base", "0.45", "0.30", "0.20"],
        ["expert", "0.99", "–", "–"],
    ]


STREAM = """
model: tiny-random
plugins: [doors.py]
stream:
  - environment: doors
    updates: 1
evaluate: {tasks: 12, baselines: WANTED}
grpo: {num_generations: 2, generation_batch_size: 4}
"""


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_a_run_has_them(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doors.py").write_text(PLUGIN)
    (tmp_path / "stream.yaml").write_text(STREAM.replace("WANTED", wanted))
    run = run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True).path
    result = json.loads((run / "result.json").read_text())
    if wanted == "false":
        assert result["baselines"] == {}
        return
    players = result["baselines"]["doors"]
    assert list(players) == ["random", "expert"]
    assert players["random"]["scores"].keys() == result["evaluations"][0]["doors"]["scores"].keys()
    assert players["random"]["samples"] == 10
    assert 0.05 < players["random"]["success"] < 0.5
    scored = {task for task, score in players["expert"]["scores"].items() if score is not None}
    assert scored == {task for task in players["expert"]["scores"] if int(task[5:]) >= 10}
    assert players["expert"]["success"] == 1
    for stage in ("000", "001"):
        state = json.loads((run / "checkpoints" / stage / "state.json").read_text())
        assert state["baselines"]["doors"]["random"]["success"] == players["random"]["success"]
    # One that goes on has them in its checkpoint, and does not play them again.
    (run / "result.json").unlink()
    monkeypatch.setattr("contrail.baselines.stream.baselines", None)
    run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)
    assert RunDirectory(run).read_result()["baselines"] == result["baselines"]


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    (tmp_path / "doors.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["contrail", "environments", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_the_command(command: Command) -> None:
    code, out, _ = command("doors.py", "--baselines", "--tasks", "40")
    assert code == 0
    cells = next(line for line in out.splitlines() if line.startswith("doors")).split()
    assert cells[1:3] == ["40", "1"]
    assert 0.15 < float(cells[3]) < 0.35
    assert cells[4:7] == ["1.00", "0.25", "1.00"]
    assert cells[7:] == ["door", "0"]
    assert "the expert has a play of 30 tasks" in out
    assert "says little about skill" not in out


def test_the_command_takes_settings_and_warns(command: Command) -> None:
    code, out, _ = command("doors.py", "open=2", "max_turns=3", "--baselines", "--json")
    assert code == 0
    (found,) = json.loads(out)
    assert (found["environment"], found["tasks"], found["max_turns"]) == ("doors", 32, 3)
    assert 0.6 < found["baselines"]["random"]["success"] < 0.9
    assert found["baselines"]["constant"]["action"].startswith("door")
    _, out, _ = command("doors.py", "open=2", "--baselines")
    assert "doors: random play solves 0." in out


def test_the_command_with_another_adapter(command: Command) -> None:
    _, choose, _ = command("doors.py", "--baselines", "--json")
    code, out, _ = command("doors.py", "--baselines", "--adapter", "react", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(choose)


def test_environments_that_cannot_be_played(command: Command, tmp_path: Path) -> None:
    text = PLUGIN.replace('register("doors", Doors)', 'register("doors", Silent)')
    (tmp_path / "doors.py").write_text(text)
    _, out, _ = command("doors.py", "--baselines")
    cells = next(line for line in out.splitlines() if line.startswith("doors")).split()
    assert cells == ["doors", "32", "1", "–", "–", "–", "1.00", "–"]


def test_names_restrict_the_list(command: Command) -> None:
    code, out, _ = command("textcraft", "doors.py", "--json")
    assert code == 0
    assert [entry["environment"] for entry in json.loads(out)] == ["textcraft", "doors"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["babyia"], ["babyia", "Did you mean 'babyai'?"]),
        (["textcraft", "depth=[1]", "--baselines"], ["depth", "depths"]),
        (["depths=[1]", "--baselines"], ["depths", "name the environment"]),
        (["textcraft", "max_turns=0", "--baselines"], ["max_turns", "a whole number above 0"]),
        (["textcraft", "depths=[9]", "--baselines"], ["depths", "9"]),
        (["textcraft", "--baselines", "--adapter", "chose"], ["chose", "choose"]),
        (["nowhere.py", "--baselines"], ["nowhere.py", "does not exist"]),
    ],
)
def test_usage_errors(command: Command, arguments: list[str], words: list[str]) -> None:
    code, out, err = command(*arguments)
    assert code == 2
    assert not out
    for word in words:
        assert word in err
