"""`contrail check` and `contrail environments` on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corridors import Corridor, Raises

from contrail.check.doing import Doing
from contrail.registry.plugins import Plugins

PLUGIN = '''
from dataclasses import dataclass
import contrail

@dataclass
class LampConfig:
    works: bool = True

class Lamp(contrail.Environment):
    """Switch it on."""
    Config = LampConfig
    def tasks(self, split):
        return [contrail.Task("lamp", split, len(split), split)]
    def reset(self, task):
        return contrail.Observation(f"Lamp {task.seed} is dark.", ["switch"])
    def step(self, action):
        lit = action == "switch"
        seen = contrail.Observation("Light." if lit else "Dark.", ["switch"])
        return contrail.Step(seen, float(lit and self.config.works), lit, success=lit)

@contrail.hookimpl
def contrail_environments(register):
    register("lamp", Lamp)
'''


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    from contrail.cli import app as cli

    (tmp_path / "lamp.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["contrail", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_command(command: Command) -> None:
    code, out, _ = command("check", "lamp.py", "--tasks", "1")
    assert code == 0
    assert "lamp" in out
    assert "skipped │ no expert" in out.replace("┃", "│")


def test_an_environment_that_ends_the_process(command: Command, tmp_path: Path) -> None:
    ends = "        print('noise')\n        if action == 'xyzzy': os._exit(3)\n        lit ="
    (tmp_path / "lamp.py").write_text(f"import os\n{PLUGIN.replace('        lit =', ends)}")
    code, out, _ = command("check", "lamp.py", "--json")
    assert code == 1
    (report,) = json.loads(out)
    (failed,) = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert failed["check"] == "nonsense"
    assert "exit code 3" in failed["note"]
    last = report["findings"][-1]
    assert (last["state"], last["note"]) == ("skipped", "first put right: nonsense")


def test_the_command_with_settings(command: Command) -> None:
    code, out, _ = command("check", "lamp", "lamp.py", "works=false", "--json")
    assert code == 1
    (report,) = json.loads(out)
    failed = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert [finding["check"] for finding in failed] == ["success"]
    # The other process has loaded the plugin's file too, and its settings.
    states = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert states["process"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lmap.py"], ["lmap.py", "'lamp.py'"]),
        (["babyia"], ["'babyia'", "'babyai'"]),
        (["lamp", "lamp.py", "work=1"], ["work=1", "'works'"]),
        (["lamp", "lamp.py", "works=perhaps"], ["works", "true or false"]),
        (["babyai", "levels=[GoToLocl]"], ["'GoToLocl'", "'GoToLocal'"]),
        (["lamp.py", "--tasks", "0"], ["--tasks"]),
    ],
)
def test_usage_errors(command: Command, arguments: list[str], words: list[str]) -> None:
    code, out, err = command("check", *arguments)
    assert code == 2
    assert not out
    for word in words:
        assert word in err


def test_environments(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(Corridor):
        def __init__(self, config: Any = None) -> None:
            raise ModuleNotFoundError("No module named 'maze'")

    class Known(Corridor):
        about_data = "7 doors [free]"

    def only(self: Plugins) -> None:
        self.environments.register("corridor", Known, "p")
        self.environments.register("maze", Missing, "p")
        self.environments.register("raises", Raises, "p")

    monkeypatch.setattr(Plugins, "add_installed", only)
    code, out, _ = command("environments")
    assert code == 0
    assert "7 doors [free]" in out
    assert "pip install 'contrail[maze]'" in " ".join(out.split())
    _, out, _ = command("environments", "--json")
    corridor, maze, broken = json.loads(out)
    assert corridor == {
        "environment": "corridor",
        "tasks": {"train": 4, "test": 3},
        "difficulties": [],
        "actions": True,
        "expert": True,
        "extra": None,
        "about_data": "7 doors [free]",
        "notes": [],
        "missing": "",
    }
    assert maze["tasks"] == {}
    assert "KeyError: 'door'" in broken["missing"]


def test_where_an_environment_hangs(command: Command, tmp_path: Path) -> None:
    hangs = "        if action == 'xyzzy': time.sleep(60)\n        lit ="
    (tmp_path / "lamp.py").write_text(f"import time\n{PLUGIN.replace('        lit =', hangs)}")
    code, out, _ = command("check", "lamp.py", "--json", "--timeout", "0.5")
    assert code == 1
    (report,) = json.loads(out)
    (failed,) = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert failed["check"] == "nonsense"
    assert "no answer within 0.5 s (--timeout); in task 'train', step('xyzzy')" in failed["note"]


def test_a_call_that_takes_long_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contrail.check.other_process.LONG", 0.05)
    slow = "        if action == 'xyzzy': time.sleep(0.6)\n        lit ="
    (tmp_path / "lamp.py").write_text(f"import time\n{PLUGIN.replace('        lit =', slow)}")
    code, _, err = command("check", "lamp.py")
    assert code == 0
    assert "lamp: nonsense: task 'train', step('xyzzy'), for " in err


def test_a_check_that_is_interrupted_says_where(tmp_path: Path) -> None:
    file = tmp_path / "note"
    Doing.make(file)
    writer, reader = Doing(file), Doing(file)
    assert reader.read() is None
    with pytest.raises(KeyError), writer.during("reset \ud800" + "x" * 10_000):
        raise KeyError
    activity = reader.read()
    assert activity is not None
    assert activity.what.startswith("reset ?xxx")
    with writer.during("step"):
        pass
    assert reader.read() is None


KINDS = """
import contrail
from contrail.plugins.adapters.choose import Choose

class Mine(Choose):
    pass

class Same(contrail.Strategy):
    starts_at = contrail.Strategy.NEVER

@contrail.hookimpl
def contrail_adapters(register):
    register("mine", Mine)

@contrail.hookimpl
def contrail_strategies(register):
    register("mine", Same)
"""


@pytest.mark.slow
def test_a_file_with_an_adapter_and_a_strategy(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(KINDS)
    code, out, _ = command("check", "mine.py", "--json")
    assert code == 0
    reports = json.loads(out)
    assert [(report["kind"], report["name"]) for report in reports] == [
        ("adapter", "mine"),
        ("strategy", "mine"),
    ]
    code, out, _ = command("check", "mine", "mine.py", "--kind", "adapter")
    assert code == 0
    assert "adapter mine" in out
    assert "strategy mine" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["babyai", "--kind", "strategy"], ["'babyai' is no strategy"]),
        (["replay", "mod=tasks"], ["mod=tasks", "'mode'"]),
        (["nothing.py"], ["registers nothing that can be checked"]),
        (["choose", "--environment", "babyia"], ["'babyai'"]),
    ],
)
def test_usage_errors_of_others(
    command: Command, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "nothing.py").write_text(
        "import contrail\n@contrail.hookimpl\ndef contrail_commands(cli): pass\n"
    )
    code, out, err = command("check", *arguments)
    assert code == 2
    assert not out
    for word in words:
        assert word in err
