"""Words of a command line that mean something else than they say, and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Command, refused

THERMOSTAT = """import contrail

class Thermostat(contrail.Environment):
    def tasks(self, split): return [contrail.Task("thermostat", split, 0, split)]
    def reset(self, task): return contrail.Observation("cold", ["heat"])
    def step(self, action): return contrail.Step(self.reset(None), 1.0, True, success=True)

@contrail.hookimpl
def contrail_environments(register):
    register("thermostat", Thermostat)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["play", "thermostat"],
        ["check", "thermostat"],
        ["environments", "thermostat"],
        ["eval", "tiny-random", "thermostat"],
        ["run", "s.yaml", "stream=[thermostat]"],
        ["compare", "s.yaml", "stream=[thermostat]", "--strategies", "sequential,replay"],
    ],
)
def test_a_file_here_that_registers_a_name_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("model: tiny-random\nstream: [babyai]\n")
    (tmp_path / "mine.py").write_text(THERMOSTAT)
    done = command(*arguments)
    refused(done, ["'thermostat'", "mine.py has it: give the file", "`plugins: [mine.py]`"])
    assert "Did you mean" not in done.err
    (tmp_path / "mine.py").write_text(THERMOSTAT.replace('"thermostat"', '"another"'))
    done = command(*arguments)
    refused(done, ["'thermostat'"])
    assert "mine.py" not in done.err
    assert done.err.count("plugins: [FILE.py]") == 1


def test_an_unknown_strategy_may_be_a_plugins(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("model: tiny-random\nstream: [babyai]\n")
    done = command("compare", "s.yaml", "--strategies", "sequential,thrid")
    refused(done, ["no strategy is called 'thrid'"])
    assert done.err.count("plugins: [FILE.py]") == 1
    (tmp_path / "thrid.py").write_text("import contrail\n\n@contrail.hookimpl\ndef x(): pass\n")
    refused(command("compare", "s.yaml", "--strategies", "sequential,thrid"), ["thrid.py has it"])


def test_a_file_without_a_hook_is_told_what_it_lacks(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(THERMOSTAT.replace("@contrail.hookimpl\n", ""))
    done = command("play", "thermostat")
    refused(done, ["mine.py registers it in a function that is no hook", "@contrail.hookimpl"])
    assert "mine.py has it" not in done.err
    (tmp_path / "other.py").write_text(THERMOSTAT)
    refused(command("play", "thermostat"), ["other.py has it: give the file"])


KEYS_AND_OPTIONS = [
    (["run", "s.yaml", "--seed", "1"], "set without dashes: seed=1"),
    (["run", "s.yaml", "--seed=1"], "set without dashes: seed=1"),
    (["run", "s.yaml", "--model", "tiny-random"], "set without dashes: model=tiny-random"),
    (["run", "--strategy", "replay", "s.yaml"], "set without dashes: strategy=replay"),
    (["run", "s.yaml", "--max-context", "9"], "set without dashes: max_context=9"),
    (["run", "s.yaml", "--learning-rate", "1"], "set without dashes: grpo.learning_rate=1"),
    (["run", "s.yaml", "--updates", "9"], "set without dashes: stream.*.updates=9"),
    (["run", "s.yaml", "--trust-remote-code"], "set without dashes: trust_remote_code=VALUE"),
    (["compare", "s.yaml", "--seed", "1"], "set without dashes: seed=1"),
    (["split", "s.yaml", "--seed", "1"], "set without dashes: seed=1"),
    (["study", "within", "s.yaml", "--seed", "1"], "set without dashes: seed=1"),
    (["play", "babyai", "--max_turns", "9"], "set without dashes: max_turns=9"),
]


@pytest.mark.parametrize(("arguments", "words"), KEYS_AND_OPTIONS)
def test_a_key_that_is_written_as_an_option(
    command: Command, arguments: list[str], words: str
) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert words in done.err


def test_a_study_without_its_experiment(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("environments: [babyai, textcraft]\n")
    refused(command("study", "s.yaml"), ["there is no experiment", "`contrail study all s.yaml`"])


def test_no_other_option_is_taken_for_a_key(command: Command) -> None:
    for arguments in (["run", "s.yaml", "--nothing", "1"], ["report", "--seed", "1"]):
        done = command(*arguments)
        assert done.code == 2
        assert "No such option" in done.err
        assert "without dashes" not in done.err
    done = command("run", "s.yaml", "--out")
    assert "without dashes" not in done.err


def test_a_folder_stands_for_the_plugin_in_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    refused(command("check", "mine"), ["mine is a folder without a plugin file"])
    refused(command("play", "mine"), ["mine is a folder without a plugin file"])
    (folder / "conftest.py").write_text("")
    (folder / "contrail_thermostat.py").write_text(THERMOSTAT)
    assert command("check", "mine").out.startswith("environment thermostat")
    assert command("check", "mine/").out.startswith("environment thermostat")
    assert "Solved" in command("play", "mine", typed="heat\n").out
    assert "thermostat" in command("environments", "mine").out
    done = command("eval", "tiny-random", "mine")
    refused(done, ["no environment is called 'mine'"])
    (folder / "two.py").write_text(THERMOSTAT)
    refused(
        command("check", "mine"),
        ["several plugin files", "mine/contrail_thermostat.py, mine/two.py"],
    )


@pytest.mark.parametrize("arguments", [["run"], ["compare"], ["split"], ["study", "within"]])
def test_a_plugin_in_place_of_a_stream(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(THERMOSTAT)
    words = ["is a plugin file", "`contrail check mine.py`", "`contrail play mine.py`"]
    refused(command(*arguments, "mine.py"), words)


@pytest.mark.parametrize("arguments", [["check"], ["play"], ["environments"]])
def test_a_stream_in_place_of_a_plugin(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("stream: [babyai]\n")
    refused(command(*arguments, "s.yaml"), ["s.yaml is a stream file", "--dry-run"])


def test_a_kind_of_plugin_that_is_misspelt(command: Command) -> None:
    refused(command("new", "envirnment", "x"), ["'envirnment'", "Did you mean 'environment'?"])
    refused(command("check", "kl", "--kind", "strateg"), ["Did you mean 'strategy'?"])


def test_settings_that_leave_no_tasks_are_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = """import contrail
from dataclasses import dataclass

@dataclass
class Config:
    lowest: int = 1
    highest: int = 10

class Guess(contrail.Environment):
    Config = Config
    def tasks(self, split):
        span = range(self.config.lowest, self.config.highest + 1)
        return [contrail.Task("guess", f"{split}{n}", n, split) for n in span]
    def reset(self, task): return contrail.Observation("which?", ["this"])
    def step(self, action): return contrail.Step(self.reset(None), 1.0, True, success=True)

@contrail.hookimpl
def contrail_environments(register):
    register("guess", Guess)
"""
    (tmp_path / "guess.py").write_text(numbers)
    (tmp_path / "s.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py]\nstream: [{environment: {name: guess}}]\n"
    )
    said = "environment 'guess' has no training tasks with these settings (lowest: 18, highest: 10)"
    refused(command("run", "s.yaml", "stream.0.environment.lowest=18"), [said])
    refused(command("play", "guess.py", "lowest=18"), [said])
    assert said in command("environments", "guess.py", "lowest=18").out
    refused(command("environments", "guess.py", "lowest=18", "--baselines"), [said])


def test_a_mistyped_run_is_no_stream_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("stream: [babyai]\n")
    refused(command("compare", "runs/a", "runs/b"), ["there is no run directory", "runs/a"])
    refused(command("compare", "s", "seed=1"), ["no such file. Known: s.yaml"])
