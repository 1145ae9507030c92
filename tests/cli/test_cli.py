"""The command line, in this process: what it prints, what it refuses, and with which words."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import Command, Done, refused

import contrail
from contrail.registry.plugins import load_plugins

ROOT = Path(__file__).parents[2]
GUESS = ROOT / "examples" / "guess.py"


# Bad input. A case: files, the command's arguments after `run s.yaml --out run`, and words of the
# message.

PLUGIN = """
import contrail

class World(contrail.Environment):
    def tasks(self, split):
        {tasks}
    def reset(self, task):
        {reset}
    def step(self, action):
        ...

@contrail.hookimpl
def contrail_environments(register):
    register("{name}", World)
"""
TASKS = "return [contrail.Task('world', split, 0, split)]"


def plugin(tasks: str = TASKS, reset: str = "return contrail.Observation('')", name: str = "world"):  # type: ignore[no-untyped-def]
    """A stream with a plugin that has these bodies."""
    return {
        "p.py": PLUGIN.format(tasks=tasks, reset=reset, name=name),
        "s.yaml": "model: tiny-random\nplugins: [p.py]\nstream: [world]\n",
    }


def stream(text: str) -> dict[str, str]:
    return {"s.yaml": f"model: tiny-random\n{text}\n"}


def source(text: str) -> dict[str, str]:
    return {"p.py": text, "s.yaml": "model: tiny-random\nplugins: [p.py]\nstream: [babyai]\n"}


BAD: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "missing file": ({}, [], ["s.yaml", "no such file"]),
    "syntax error": (stream("stream: [babyai"), [], ["s.yaml:3:1", "not valid YAML"]),
    "no stream": (stream("seed: 1"), [], ["`stream` is missing"]),
    "key": (stream("stream: [babyai]\nsed: 1"), [], ["sed", "'seed'"]),
    "environment": (stream("stream: [babyia]"), [], ["'babyia'", "'babyai'"]),
    "environment's key": (
        stream("stream: [{environment: {name: babyai, level: [GoToObj]}}]"),
        [],
        ["level", "'levels'"],
    ),
    "strategy": (stream("stream: [babyai]\nstrategy: seqential"), [], ["'sequential'"]),
    "adapter": (stream("stream: [babyai]\nadapter: chose"), [], ["'chose'", "'choose'"]),
    "model": (stream("stream: [babyai]"), ["model=tiny-randm"], ["'tiny-random'"]),
    "grpo key": (
        stream("stream: [babyai]\ngrpo: {num_generation: 4}"),
        [],
        ["num_generation", "'num_generations'"],
    ),
    "lora key": (stream("stream: [babyai]\nlora: {rr: 4}"), [], ["rr", "LoraConfig"]),
    "module that the model has not": (
        stream("stream: [babyai]"),
        ["lora.target_modules=[q_porj]"],
        ["lora.target_modules=[q_porj]", "q_proj"],
    ),
    "setting that the environment refuses": (
        stream("stream:\n  - environment: {name: babyai, levels: [GoToObjj]}"),
        [],
        ["s.yaml:3: stream.0.environment", "'GoToObj'"],
    ),
    "key that would do nothing": (
        stream("stream: [babyai]"),
        ["grpo.sync_ref_model=true"],
        ["grpo.sync_ref_model=true", "cannot be set", "`beta`"],
    ),
    "argument of no schedule": (
        stream("stream: [babyai]"),
        ["grpo.lr_scheduler_type=cosine_with_restarts", "grpo.lr_scheduler_kwargs={cycles: 2}"],
        ["override 'grpo.lr_scheduler_kwargs={cycles: 2}': grpo: trl refuses it", "cycles"],
    ),
    "too many threads": (stream("stream: [babyai]"), ["threads=99999999999"], ["threads", "1024"]),
    "negative updates": (
        stream("stream: [{environment: babyai, updates: -1}]"),
        [],
        ["updates", "-1"],
    ),
    "difficulty": (
        stream("stream: [{environment: babyai, train: {difficulty: esy}}]"),
        [],
        ["'esy'", "'easy'"],
    ),
    "override without =": (stream("stream: [babyai]"), ["seed"], ["seed"]),
    "override of an unknown key": (stream("stream: [babyai]"), ["sed=1"], ["sed", "'seed'"]),
    "override of the wrong type": (stream("stream: [babyai]"), ["seed=one"], ["seed", "'one'"]),
    "missing plugin": (stream("stream: [babyai]\nplugins: [gess.py]"), [], ["gess.py"]),
    "plugin that raises": (source("1 / 0"), [], ["p.py", "ZeroDivisionError", "line 1"]),
    "plugin with a syntax error": (source("\ndef f(:"), [], ["p.py", "SyntaxError", "line 2"]),
    "plugin without hooks": (source("x = 1"), [], ["p.py", "implements no hook"]),
    "plugin with an unknown hook": (
        source("import contrail\n@contrail.hookimpl\ndef contrail_environment(register): ...\n"),
        [],
        ["p.py", "no hook contrail_environment.", "Did you mean 'contrail_environments'"],
    ),
    "taken name": (plugin(name="babyai"), [], ["'p'", "the environment 'babyai'", "'babyai'"]),
    "class without a method": (
        source(
            "import contrail\nclass World(contrail.Environment):\n"
            "    def tasks(self, split): ...\n    def reset(self, task): ...\n"
            "@contrail.hookimpl\ndef contrail_environments(register):\n"
            "    register('world', World)\n"
        ),
        [],
        ["'p'", "'world'", "World does not define step"],
    ),
    "tasks that raises": (plugin(tasks="1 / 0"), [], ["'world'", "'p'", "ZeroDivisionError"]),
    "tasks that exits": (plugin(tasks="raise SystemExit(0)"), [], ["'world'", "SystemExit"]),
    "no tasks": (plugin(tasks="return []"), [], ["'world'", "no training tasks", "tasks('train')"]),
    "tasks that are no tasks": (plugin(tasks="return ['a']"), [], ["contrail.Task", "['a']"]),
    "several tasks with one id": (plugin(tasks=TASKS + " * 2"), [], ["the id 'train'", "'p'"]),
    "one task in both splits": (
        plugin(tasks="return [contrail.Task('world', 'one', 0, split)]"),
        [],
        ["'one'", "both splits"],
    ),
    "reset that raises": (plugin(reset="1 / 0"), [], ["'world'", "'p'", "reset", "ZeroDivision"]),
    "reset without an observation": (
        plugin(reset="return 'you are here'"),
        [],
        ["'world'", "reset", "contrail.Observation", "you are here"],
    ),
    "choose without actions": (plugin(), [], ["'world'", "choose", "`adapter: react`"]),
    "choose without actions in an unseen environment": (
        {
            **plugin(),
            "s.yaml": "model: tiny-random\nplugins: [p.py]\nstream: [babyai]\n"
            "evaluate: {environments: [world]}\n",
        },
        [],
        ["'world'", "choose", "`adapter: react`"],
    ),
    "unknown option": (stream("stream: [babyai]"), ["--outt"], ["--outt", "--out"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    files, arguments, words = BAD[name]
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    refused(command("run", "s.yaml", *arguments, "--out", "run"), words)
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == set(files)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'"]),
        (["play", "babyia"], ["'babyia'", "'babyai'"]),
        (["play", "babyai", "--split", "tset"], ["tset", "'test'"]),
        (["play", "babyai", "--task", "none"], ["none", "no such task"]),
        (["play", "nowhere.py"], ["nowhere.py", "does not exist"]),
        (["report", "nowhere"], ["nowhere", "no run directory"]),
        (["report", "."], ["not a run directory"]),
        (["eval", "tiny-randm", "babyai"], ["'tiny-randm'", "'tiny-random'"]),
        (["eval", "./nowhere", "babyai"], ["there is no run ./nowhere"]),
        (["eval", "tiny-random", "babyia"], ["'babyia'", "'babyai'"]),
        (["eval", "tiny-random", "babyai", "--adapter", "chose"], ["'chose'", "'choose'"]),
        (["eval", "tiny-random", "babyai", "--tasks", "0"], ["--tasks"]),
    ],
)
def test_bad_arguments(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(command(*arguments), words)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def tiny() -> Path:
    """The directory of the model tiny-random."""
    return load_plugins().models["tiny-random"].value()


def test_a_model_without_weights(command: Command, tmp_path: Path, tiny: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    (model / "model.safetensors").unlink()
    (tmp_path / "s.yaml").write_text("model: ./model\nstream: [babyai]\n")
    done = command("run", tmp_path / "s.yaml", "--out", tmp_path / "run")
    refused(done, [str(model), "no weights", "save_pretrained"])
    assert not (tmp_path / "run").exists()


def test_corrupt_weights(command: Command, tmp_path: Path, tiny: Path) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (tmp_path / "s.yaml").write_text("model: ./model\nstream: [babyai]\n")
    done = command("run", tmp_path / "s.yaml", "--out", tmp_path / "run")
    refused(done, [str(model), "cannot be loaded"])
    assert not (tmp_path / "run").exists()


# What it shows.


def test_version(command: Command) -> None:
    assert command("--version") == Done(0, f"contrail {contrail.__version__}\n", "")


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys, contrail.cli.app;"
        "from contrail.registry.plugins import load_plugins; load_plugins();"
        "print({name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    heavy = "torch transformers peft trl avalanche matplotlib scipy minigrid gymnasium tensorboard"
    for module in [*heavy.split(), "numpy", "datasets", "pandas"]:
        assert f"'{module}'" not in done.stdout


def test_help_names_every_command(command: Command) -> None:
    done = command("--help")
    assert done.code == 0
    names = "run compare report eval plugins play check environments strategies adapters models"
    for name in names.split():
        assert name in done.out
        assert command(name, "--help").code == 0


def test_plugins_lists_all_that_ships(command: Command) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    done = command("plugins")
    assert done.code == 0
    for name, module in project["entry-points"]["contrail"].items():
        assert name in done.out
        assert module in done.out


def test_play_by_hand(command: Command) -> None:
    # The first training task is the number 1. An action is its number in the list, or its text;
    # nonsense is answered by the environment.
    done = command("play", GUESS, typed="nonsense\n17\n1\n")
    assert done.code == 0
    assert "Guess my number" in done.out
    assert "Lower." in done.out
    assert "Solved in 3 turns; reward 1." in done.out


def test_play_another_task_of_the_test_split(command: Command) -> None:
    done = command("play", GUESS, "--split", "test", "--task", "number-8", typed="4\n8\n")
    assert "Higher." in done.out
    assert "Solved in 2 turns" in done.out


def test_play_until_the_end_of_the_input(command: Command) -> None:
    done = command("play", GUESS)
    assert done.code == 0
    assert "Goodbye." in done.out


@pytest.mark.parametrize("environment", ["babyai", "textcraft"])
def test_the_expert_plays(command: Command, environment: str) -> None:
    done = command("play", environment, "--expert")
    assert done.code == 0
    assert "Solved in" in done.out


def test_an_environment_without_an_expert(command: Command) -> None:
    done = command("play", GUESS, "--expert")
    assert done.code == 2
    assert done.err == "error: there is no expert for task 'number-1'\n"
