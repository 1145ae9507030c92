"""`contrail eval` and `contrail report`: the scores of a policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Done

from contrail.errors import ConfigError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose column "small" has settings, and an adapter, of its own."""
    from contrail.runs.launch import run_stream

    directory = tmp_path_factory.mktemp("run")
    (directory / "s.yaml").write_text(
        "model: tiny-random\n"
        "stream:\n"
        "- environment: {name: babyai, label: small, levels: [GoToObj], max_turns: 3}\n"
        "  updates: 1\n"
        "  adapter: {name: react, max_new_tokens: 5}\n"
        "evaluate: {tasks: 4, environments: [{name: textcraft, depths: [1], max_turns: 2}]}\n"
        "grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}\n"
    )
    return run_stream(directory / "s.yaml", out=directory / "run", quiet=True).path


def scores(done: Done) -> dict[str, dict[str, float]]:
    assert done.code == 0, done.err
    content: dict[str, dict[str, float]] = json.loads(done.out)
    return content


def test_eval_of_a_model(command: Command) -> None:
    done = command("eval", "tiny-random", "textcraft", "--tasks", "2")
    assert done.code == 0
    assert "textcraft" in done.out
    assert "evaluate textcraft" in done.err
    assert not command("eval", "tiny-random", "textcraft", "--tasks", "2", "--quiet").err


def test_eval_says_where_there_are_fewer_tasks(command: Command, run: Path) -> None:
    done = command("eval", run, "small", "--tasks", "101", "--quiet")
    assert done.code == 0, done.err
    assert "small has no more than 100 test tasks." in done.out.splitlines()
    assert "no more" not in command("eval", run, "small", "--tasks", "2", "--quiet").out


def test_eval_of_a_run_repeats_its_last_row(command: Command, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    again = scores(command("eval", run, "small", "textcraft", "--tasks", "4", "--json"))
    for environment, evaluation in result["evaluations"][-1].items():
        assert again[environment] == evaluation  # with the settings and the adapter of the run


def test_eval_of_a_checkpoint_repeats_its_row(command: Command, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    first = command("eval", run / "checkpoints/000", "small", "--tasks", "4", "--json")
    assert scores(first)["small"] == result["evaluations"][0]["small"]


def too_late(quiet: bool = False) -> None:
    raise AssertionError("the libraries are loaded, which takes seconds")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError(f"a model was looked up: {arguments}")

    monkeypatch.setattr("contrail.runs.policies.load_base", refuse)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/nothing", "there is no run runs/nothing"),
        ("runs/firts", "Did you mean 'runs/first'?"),
        ("./nothing", "there is no run ./nothing"),
        ("a/b/c", "there is no run a/b/c"),
        ("/nothing", "there is no run /nothing"),
        ("nothing", "no model is called 'nothing'"),
        ("runs", "nor is it a run or a LoRA"),
        ("runs/first", "has no checkpoint yet"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_a_mistyped_directory_is_no_name_at_the_hub(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/first").mkdir(parents=True)
    (tmp_path / "runs/first/config.yaml").write_text("stream: [babyai]\n")
    (tmp_path / "s.yaml").write_text("stream: [babyai]\n")
    if name != "runs/first":
        monkeypatch.setattr("contrail.compat.loading.load_libraries", too_late)
    if name == "runs/nothing":  # it is one even where no run has been made yet
        shutil.rmtree(tmp_path / "runs")
    for words in (["eval", name, "babyai"], ["play", "babyai", "--policy", name]):
        done = command(*words)
        assert done.code == 2
        assert said in done.err
    if name != "runs/first":
        done = command("run", "s.yaml", f"model={name}", "--out", "new")
        assert done.code == 2
        assert said in done.err


def test_a_name_of_the_hub_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contrail.config import find_model
    from contrail.registry.registered import Table

    monkeypatch.chdir(tmp_path)
    assert find_model("owner/name", tmp_path, Table("model")) == "owner/name"
    (tmp_path / "owner").mkdir()
    with pytest.raises(ConfigError, match="run it where there is no directory 'owner'"):
        find_model("owner/name", tmp_path, Table("model"))


def test_eval_with_another_adapter(command: Command, run: Path) -> None:
    own = scores(command("eval", run, "small", "--tasks", "4", "--json"))["small"]
    other = command("eval", run, "small", "--tasks", "4", "--json", "--adapter", "choose")
    assert own["invalid_action_rate"] == 1  # a random model writes no action
    assert scores(other)["small"]["invalid_action_rate"] == 0


def test_eval_of_an_adapter_on_its_own(command: Command, run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(run / "checkpoints/001", tmp_path / "adapter")
    found = scores(command("eval", alone, "textcraft", "--tasks", "2", "--json"))
    assert found["textcraft"]["tasks"] == 2


def test_report_of_a_run(command: Command, run: Path) -> None:
    done = command("report", run)
    assert done.code == 0
    assert "after 1: small" in done.out
    assert (run / "R.png").is_file()
    assert not done.err


def test_a_checkpoint_that_is_removed_meanwhile(
    command: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on, and removes the checkpoint while the base model is loaded."""
    from contrail.runs import policies

    copy = Path(shutil.copytree(run, tmp_path / "run"))
    whole = shutil.copytree(copy / "checkpoints/001", tmp_path / "whole")
    passed = shutil.copytree(whole, copy / "checkpoints/002")
    load = policies.load_base

    def slow(*arguments: Any, **keywords: Any) -> Any:
        shutil.rmtree(passed, ignore_errors=True)
        return load(*arguments, **keywords)

    monkeypatch.setattr(policies, "load_base", slow)
    found = scores(command("eval", copy, "small", "--tasks", "4", "--json"))
    passed = shutil.copytree(whole, copy / "checkpoints/002")
    done = command("eval", passed, "small", "--tasks", "4")
    assert done.code == 2
    assert f"{passed} has been removed since. Name the run" in done.err
    monkeypatch.undo()
    assert found == scores(command("eval", run, "small", "--tasks", "4", "--json"))


def test_a_result_that_is_cut_short(command: Command, run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    (copy / "result.json").write_text("{")
    done = command("report", copy)
    assert done.code == 2
    assert "Restore it, or remove it" in done.err
