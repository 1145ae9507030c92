"""Whole runs in environments that raise, answer nonsense, or say more than the model can hold."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from contrail.errors import ContrailError, PluginError
from contrail.plugins.reports import console
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"

FLAKY = """
import contrail
from guess import GuessNumber

class Flaky(GuessNumber):
    count = 0

    def step(self, action):
        Flaky.count += 1
        if {condition}:
            raise ConnectionError("the server is away")
        return super().step(action)

@contrail.hookimpl
def contrail_environments(register):
    register("flaky", Flaky)
"""


def evaluations(run: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((run / "result.json").read_text())["evaluations"]
    return content


def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, condition: str) -> Path:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (tmp_path / "flaky.py").write_text(FLAKY.format(condition=condition))
    (tmp_path / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [flaky.py]\nevaluate: {tasks: 5}\n"
        "stream: [{environment: {name: flaky, max_turns: 3}, updates: 2}]\n"
        "grpo: {num_generations: 4, generation_batch_size: 8}\n"
    )
    return tmp_path / "stream.yaml"


def test_an_environment_that_always_raises_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = flaky(tmp_path, monkeypatch, "True")
    with pytest.raises(PluginError, match=r"'flaky'.*every episode.*the server is away; .*line"):
        run_stream(stream, out=tmp_path / "run", quiet=True)


def test_an_environment_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = flaky(tmp_path, monkeypatch, "Flaky.count % 7 == 0")
    run = run_stream(stream, out=tmp_path / "run").path
    assert capsys.readouterr().err.count("the server is away") == 1  # told once, then counted
    for row in evaluations(run):
        assert 0 < row["flaky"]["fault_rate"] < 1
    log = gzip.decompress((run / "episodes" / "001-train.jsonl.gz").read_bytes())
    faults = [json.loads(line)["fault"] for line in log.splitlines()]
    assert any(f and "ConnectionError: the server is away" in f for f in faults)
    result = json.loads((run / "result.json").read_text())
    lost = result["budget"]["faults"]
    assert 0 < lost == sum(fault is not None for fault in faults)
    assert result["faults"]["flaky"]["faults"] == lost
    assert result["faults"]["flaky"]["episodes"] == len(faults) == 16
    console.contrail_report(result, str(run))
    said = " ".join(capsys.readouterr().out.split())
    share = f"flaky lost {lost} of 16 training episodes ({lost / 16:.0%}) to faults"
    assert f"{share}, which count nowhere; the first: " in said
    assert "ConnectionError: the server is away" in said


@pytest.mark.parametrize("broken", [1, 3])
def test_a_task_that_cannot_be_begun_is_a_fault_unless_none_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    stream = flaky(tmp_path, monkeypatch, "False")
    plugin = tmp_path / "flaky.py"
    reset = f"""    def reset(self, task):
        if task.split == "train" and task.seed <= {broken}:
            raise ConnectionError("no such room")
        return super().reset(task)

    def step("""
    plugin.write_text(plugin.read_text().replace("    def step(", reset))
    if broken == 3:
        with pytest.raises(PluginError, match=r"reset of the task 'number-1'.*no such room"):
            run_stream(stream, out=tmp_path / "run", quiet=True)
        return
    run = run_stream(stream, out=tmp_path / "run", quiet=True).path
    assert evaluations(run)[1]["flaky"]["fault_rate"] == 0


def test_an_update_whose_every_episode_is_lost_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = tmp_path / "away"
    stream = flaky(tmp_path, monkeypatch, f"__import__('os').path.exists({str(away)!r})")
    hold = "import contrail\n@contrail.hookimpl\ndef contrail_update(run, scalars):\n    "
    (tmp_path / "cut.py").write_text(f"{hold}open({str(away)!r}, 'w').close()\n")
    stream.write_text(stream.read_text().replace("[flaky.py]", "[flaky.py, cut.py]"))
    with pytest.raises(PluginError, match=r"every episode was a fault.*goes on from its last"):
        run_stream(stream, out=tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    away.unlink()
    (tmp_path / "cut.py").write_text(f"{hold}pass\n")
    run = run_stream(stream, out=tmp_path / "run").path
    assert "going on from" in capsys.readouterr().err
    assert json.loads((run / "result.json").read_text())["budget"]["faults"] == 0


def test_what_is_lost_in_an_update_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = flaky(tmp_path, monkeypatch, "Flaky.count % 7 == 0")
    run = run_stream(stream, out=tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flaky 1/2")]
    assert "faults " in said[0]
    console.contrail_report(result=run.read_result(), directory="")
    assert "lost to faults of their environments" in capsys.readouterr().out


@pytest.mark.parametrize(("tokens", "fits"), [(20, False), (90, True)])
def test_a_context_without_room_for_the_first_turn(
    tokens: int, fits: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (EXAMPLES / "guess.py").read_text()
    text = text.replace(
        '"Guess my number',
        '"Guess my number' + " please" * 40 + '"if task.seed > 10 else "Guess my number',
    )
    (tmp_path / "guess.py").write_text(text)
    (tmp_path / "stream.yaml").write_text(
        f"model: tiny-random\nplugins: [guess.py]\nmax_context: {tokens}\n"
        "stream: [{environment: {name: guess-number, max_turns: 1}, updates: 0}]\n"
    )
    if fits:
        run_stream(tmp_path / "stream.yaml", out=tmp_path / "run")
        # Told once, for the first of the tasks that are too long.
        assert capsys.readouterr().err.count("max_context is too small for") == 1
    else:
        with pytest.raises(ContrailError, match=r"max_context.*20 tokens have no room"):
            run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize("raised", ["float('nan')", "'much'", "None"])
def test_a_reward_that_is_no_number_is_a_fault(tmp_path: Path, raised: str) -> None:
    text = (EXAMPLES / "guess.py").read_text()
    assert "reward=float(solved)" in text
    text = text.replace("reward=float(solved)", f"reward={raised} if self.number > 8 else 0.0")
    (tmp_path / "guess.py").write_text(text)
    (tmp_path / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py]\n"
        "stream: [{environment: guess-number, updates: 0}]\n"
    )
    run = run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True).path
    assert [row["guess-number"]["fault_rate"] for row in evaluations(run)] == [0.6, 0.6]


def test_rewards_of_numpy(tmp_path: Path) -> None:
    text = (EXAMPLES / "guess.py").read_text()
    text = text.replace("reward=float(solved)", "reward=numpy.float32(solved)")
    text = text.replace("success=solved", "success=numpy.bool_(solved)")
    (tmp_path / "guess.py").write_text("import numpy\n" + text)
    (tmp_path / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py]\nevaluate: {tasks: 2}\n"
        "stream: [{environment: guess-number, updates: 1}]\n"
        "grpo: {num_generations: 2, generation_batch_size: 4}\n"
    )
    run = run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True).path
    assert [row["guess-number"]["fault_rate"] for row in evaluations(run)] == [0, 0]


@pytest.mark.parametrize(
    "answer", ["(seen, 0.0, False, {})", "contrail.Step('you are here')", "None"]
)
def test_a_step_that_is_no_step(tmp_path: Path, answer: str) -> None:
    text = (EXAMPLES / "guess.py").read_text()
    (tmp_path / "guess.py").write_text(
        re.sub(r"return contrail\.Step\(.*\)", f"return {answer}", text)
    )
    (tmp_path / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py]\nstream: [guess-number]\n"
    )
    message = r"'guess-number': step\('\d+'\) must return a contrail\.Step with a contrail\.Observ"
    with pytest.raises(ContrailError, match=message):
        run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True)
