"""The users' code is edited while its runs are on disk: it is noticed, and nothing is mixed up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weights

import contrail
from contrail.comparison import launch
from contrail.comparison.launch import compare_runs, compare_stream
from contrail.comparison.plan import ComparisonOptions
from contrail.config import load
from contrail.envs.trl.load import load_module
from contrail.errors import ConfigError, ContrailError
from contrail.plugin_files import load_file
from contrail.plugins.models.smollm2 import tiny_random
from contrail.registry.plugins import load_plugins
from contrail.runs import sources
from contrail.runs.launch import run_stream
from contrail.runs.sources import edited, merged, source_files

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAM = """
model: tiny-random
plugins: [guess.py]
stream:
  - environment: {name: guess-number, label: one, max_turns: 2}
    updates: 1
  - environment: {name: guess-number, label: two, max_turns: 2}
    updates: 1
evaluate: {tasks: 5}
grpo: {num_generations: 2, generation_batch_size: 4}
"""
FEWER = ("range(1, 21) if", "range(1, 13) if")  # 3 test tasks in the place of 5
HARMLESS = ("import contrail\n", "import contrail  # edited\n")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLES / "guess.py", tmp_path)
    path = tmp_path / "stream.yaml"
    path.write_text(STREAM)
    return path


def edit(stream: Path, change: tuple[str, str]) -> None:
    path = stream.with_name("guess.py")
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))


def test_an_edit_within_a_second_of_the_same_length_is_used(tmp_path: Path) -> None:
    """Python itself would take the bytecode of before for it."""
    path = tmp_path / "plugin.py"
    for number in range(5):
        path.write_text(f"VALUE = {number}\n")
        assert number == load_file(path).VALUE
        assert number == load_module(str(path)).VALUE
    assert [file.name for file in tmp_path.iterdir()] == ["plugin.py"]


def versions(run: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((run / "result.json").read_text())["provenance"][
        "source_files"
    ]
    return found


def test_a_run_that_goes_on(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = stream.parent / "out"
    run_stream(stream, out=out)
    assert "edited" not in capsys.readouterr().err
    (name,) = versions(out)
    assert name.endswith("/guess.py")
    assert len(versions(out)[name]) == 1
    edit(stream, HARMLESS)
    run_stream(stream, ["stream.1.updates=2"], out=out)
    assert f"warning: {name} has been edited since this run began" in capsys.readouterr().err
    assert len(versions(out)[name]) == 2
    edit(stream, FEWER)
    with pytest.raises(ContrailError, match=r"'one' has other test tasks .*: 5 then and 3 now, 3"):
        run_stream(stream, ["stream.1.updates=3"], out=out)


def test_files_that_settings_name(tmp_path: Path) -> None:
    """The class of an environment for TRL, its rows, recorded episodes, a plugin of Avalanche."""
    (tmp_path / "game.py").write_text(
        "class Game:\n"
        "    reward = 0.0\n"
        "    def reset(self, seed=0):\n        return 'Guess.'\n"
        "    def guess(self, word: str) -> str:\n        'Guess a word.'\n        return word\n"
    )
    (tmp_path / "own.py").write_text(
        "from avalanche.core import BasePlugin\nclass Own(BasePlugin):\n    pass\n"
    )
    path = tmp_path / "stream.yaml"
    path.write_text(
        "model: tiny-random\nstrategy: own.py:Own\n"
        "stream: [{environment: {name: trl, module: game.py, factory: Game, rows: rows.json},\n"
        "          updates: 1, learn: {name: imitate, episodes: played.jsonl}}]\n"
    )
    for name in ("rows.json", "played.jsonl"):
        (tmp_path / name).write_text("[]")
    before = source_files(*load(path))
    names = {name.rpartition("/")[2] for name in before}
    assert names == {"game.py", "own.py", "rows.json", "played.jsonl"}
    (tmp_path / "rows.json").write_text("[ ]")
    (edited_file,) = edited(merged({}, before), source_files(*load(path)))
    assert edited_file.endswith("/rows.json")


def test_recorded_episodes_of_a_run(stream: Path) -> None:
    run = run_stream(stream, out=stream.parent / "played", quiet=True).path
    learn = f"stream.0.learn={{name: imitate, episodes: {run}}}"
    before = source_files(*load(stream, [learn]))
    assert f"{stream.parent.name}/played" in before
    run_stream(stream, ["stream.1.updates=2"], out=run, quiet=True)
    now = source_files(*load(stream, [learn]))
    assert edited(merged({}, before), now) == [f"{stream.parent.name}/played"]


class Here:
    """In place of a process: the run is made on the spot, and its error is told."""

    code = 0

    def start(self, arguments: Any, output: Any) -> Here:
        _, config, out = arguments
        made = Here()
        try:
            run_stream(Path(config), out=Path(out), quiet=True)
        except ContrailError as error:
            output.write(f"error: {error}\n".encode())
            output.flush()
            made.code = 2
        return made

    def poll(self) -> int:
        return self.code


def test_a_comparison(stream: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Here()))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    said: list[str] = []
    out = stream.parent / "out"

    def compare(*strategies: str) -> launch.Outcome:
        said.clear()
        options = ComparisonOptions(strategies=list(strategies))
        return compare_stream(stream, (), options, load_plugins(), out=out, say=said.append)

    made = compare("sequential", "replay")
    assert made.comparison["edited"] == []
    assert any("starts with 1 of 2 stages of sequential" in line for line in said)
    edit(stream, HARMLESS)
    made = compare("sequential", "replay", "kl")
    (name,) = made.comparison["edited"]
    assert any(line.startswith(f"warning: {name} has been edited since 2 runs") for line in said)
    assert "kl, one > two, seed 0: starts" in said  # with nothing of the earlier version
    contrail.Comparison.read(out, load_plugins()).report()
    assert f"{name} was edited between these runs" in " ".join(capsys.readouterr().out.split())
    edit(stream, FEWER)
    with pytest.raises(
        ConfigError, match=r"'one' has other test tasks than in seq.*: 5 then and 3"
    ):
        compare("sequential", "replay", "kl", "mixture")
    # Nothing is lost: the earlier comparison is still there.
    assert contrail.Comparison.read(out, load_plugins()).strategies == [
        "sequential",
        "replay",
        "kl",
    ]


def test_runs_made_one_by_one(stream: Path) -> None:
    run_stream(stream, out=stream.parent / "a", quiet=True)
    edit(stream, HARMLESS)
    run_stream(stream, ["seed=1"], out=stream.parent / "b", quiet=True)
    made = compare_runs(
        [stream.parent / "a", stream.parent / "b"], ComparisonOptions(), out=stream.parent / "c"
    )
    assert len(made.comparison["edited"]) == 1


@pytest.mark.usefixtures("quick_comparisons")
def test_a_study_is_not_extended(stream: Path) -> None:
    study = stream.with_name("study.yaml")
    environments = (
        "environments: [{name: guess-number, label: one}, {name: guess-number, label: two}]"
    )
    text = STREAM.split("stream:")[0] + environments + "\nupdates: 1\nevaluate: {tasks: 3}\n"
    text += "grpo: {num_generations: 2, generation_batch_size: 4}\n"
    study.write_text(text)
    out = stream.parent / "study"
    contrail.study("transfer", study, out=out, quiet=True)
    with pytest.raises(ConfigError, match="made with other `updates` or environments"):
        contrail.study("transfer", study, "updates=2", out=out, quiet=True)


def scaled(directory: Path, factor: float) -> None:
    """Multiply the weights of a model, or of a LoRA."""
    (path,) = directory.glob("*.safetensors")
    weights = {name: item * factor for name, item in load_weights(path).items()}
    save_weights(weights, path, metadata={"format": "pt"})


def test_the_weights_of_a_model(stream: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = stream.with_name("weights"), stream.parent / "out"
    shutil.copytree(tiny_random(), model)
    settings = [f"model={model}", "plugins=[guess.py]"]
    run_stream(stream, settings, out=out)
    assert "edited" not in capsys.readouterr().err
    scaled(model, 1.5)
    run_stream(stream, [*settings, "stream.1.updates=2"], out=out)
    warning = f"warning: {stream.parent.name}/weights has been edited since this run began"
    assert warning in capsys.readouterr().err


def test_the_lora_that_runs_begin_with(
    stream: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run has a copy of it, so it is not mixed up; runs of a comparison can be."""
    monkeypatch.setattr(launch, "Workers", lambda: contextlib.nullcontext(Here()))
    monkeypatch.setattr(launch, "attempt", lambda configs, workers: None)
    run_stream(stream, out=stream.parent / "begun", quiet=True)
    lora = stream.with_name("lora")
    shutil.copytree(stream.parent / "begun/checkpoints/002", lora)
    said: list[str] = []
    out = stream.parent / "out"

    def compare(*strategies: str) -> launch.Outcome:
        said.clear()
        options = ComparisonOptions(strategies=list(strategies))
        texts = [f"model={lora}"]
        return compare_stream(stream, texts, options, load_plugins(), out=out, say=said.append)

    assert compare("sequential").comparison["edited"] == []
    one = stream.parent / "one"
    run_stream(stream, [f"model={lora}"], out=one, quiet=True)
    scaled(lora, -2.0)
    capsys.readouterr()
    run_stream(stream, [f"model={lora}", "stream.1.updates=2"], out=one)
    assert "edited" not in capsys.readouterr().err
    assert len(versions(one)[f"{stream.parent.name}/lora"]) == 1
    made = compare("sequential", "frozen")
    assert made.comparison["edited"] == [f"{stream.parent.name}/lora"]
    assert "frozen, one > two, seed 0: starts" in said  # with nothing of the other policy


def test_files_that_end_alike_are_told_apart() -> None:
    paths = [Path("/data/one/plays/new.jsonl"), Path("/data/two/plays/new.jsonl"), Path("mine.py")]
    assert [*sources._names(paths).values()] == [
        "one/plays/new.jsonl",
        "two/plays/new.jsonl",
        "mine.py",
    ]


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK", 8)
    monkeypatch.setattr(sources, "BLOCKS", 4)
    path = tmp_path / "weights"
    found = set()
    for time, place in enumerate(
        (None, 0, 100, 1000)
    ):  # of 1001 bytes: the first, one between, and the last
        content = bytearray(1001)
        if place is not None:
            content[place] = 1
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
        found.add(sources._digest(path))
    assert len(found) == 3
    path.write_bytes(bytes(1002))
    assert sources._digest(path) not in found
