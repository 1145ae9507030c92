"""The script for GPUs, on the CPU: every part gives figures, and what fails is told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.gpu import memory, parts, plain, right, static
from benchmarks.gpu.house import play_house
from benchmarks.gpu.models import SHAPES, cache_bytes, random_model, random_policy, weight_bytes
from benchmarks.gpu.parts import PARTS, Part, chosen, run_part
from benchmarks.gpu.record import Figure, Sink, markdown, read
from benchmarks.gpu.settings import Options
from contrail.episode import Episode

import torch  # isort: skip

ROOT = Path(__file__).parents[2]


def tiny(tmp_path: Path) -> Options:
    return Options("cpu", True, ("tiny",), None, tmp_path)


def test_the_script_starts_the_command(tmp_path: Path) -> None:
    """With the environment that processes can be forked in after CUDA has been asked for."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$PWD" "$PYTORCH_NVML_BASED_CUDA_CHECK" "$@"\nexit 7\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--tiny", "--out", "a b"],
        env=os.environ | {"PYTHON": str(python)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"{ROOT} 1 -m benchmarks.gpu --tiny --out a b\n"


def in_a_fork(*arguments: str, output: Path) -> int:
    """The exit code of the command, in a process that need not import the libraries again."""

    def run() -> None:
        file = output.open("w", buffering=1)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file  # pytest's own are not those of the process
        from benchmarks.gpu.__main__ import app  # it sets environment variables

        app([*arguments])

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def test_every_part_gives_figures_though_one_fails(tmp_path: Path) -> None:
    output = tmp_path / "output"
    arguments = ["--tiny", "--seconds", "3600", "--out", str(tmp_path), "--fail", "right.drift"]
    assert in_a_fork(*arguments, output=output) == 1, output.read_text()
    said = output.read_text()
    found = json.loads((tmp_path / "gpu.json").read_text())
    ends = {name: end["ended"] for name, end in found["parts"].items()}
    failed = "failed: RuntimeError: made to fail"
    assert ends == {name: failed if name == "right.drift" else "ok" for name in PARTS}, said
    assert "drift" in found["parts"]["right.drift"]["trace"]
    figures = [Figure(**figure) for figure in found["figures"]]
    assert {figure.part for figure in figures} == set(PARTS)
    assert [figure.part for figure in figures].count("right.drift") == 1
    text = (tmp_path / "gpu.md").read_text()
    assert failed in text
    assert text in said
    values = {(item.table, item.row, item.column): item.value for item in figures}
    for (table, row, _), value in values.items():
        if table in (right.LOGPROBS, right.GRADIENTS):
            assert isinstance(value, float)
            assert value < (1e-4 if row.endswith("float32") else 0.1), (table, row)
    assert {item.row for item in figures if item.table == right.LOGPROBS} == {
        f"tiny {adapter} {dtype}"
        for adapter in ("react", "choose")
        for dtype in ("float32", "bfloat16")
    }


def test_small_updates_reach_the_policy_that_acts(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    right.drift(tiny(tmp_path), Sink("drift", file))
    found = {(item.row, item.column): float(item.value) for item in read(file)}
    for dtype in ("float32", "bfloat16"):
        moved = found[f"tiny {dtype}", "unmerged ‖ base"]
        assert moved > 0
        assert found[f"tiny {dtype}", "acting ‖ unmerged"] < 0.01 * moved
        assert found[f"tiny {dtype}", "acting ‖ base"] == pytest.approx(moved, rel=0.1)


def test_a_wrong_log_probability_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: Any, **kwargs: Any) -> list[Episode]:
        episodes = play_house(*args, **kwargs)
        episodes[0].turns[-1].logprobs[-1] += 0.01
        return episodes

    monkeypatch.setattr(right, "play_house", wrong)
    right.float32(tiny(tmp_path), Sink("right", tmp_path / "figures"))
    found = {(item.table, item.row, item.column): item.value for item in read(tmp_path / "figures")}
    for adapter in ("react", "choose"):
        row = f"tiny {adapter} float32"
        rollout = found[right.LOGPROBS, row, "rollout – plain"]
        assert rollout == pytest.approx(0.01, abs=1e-4)
        assert float(found[right.LOGPROBS, row, "update – plain"]) < 1e-4


def test_candidates_in_one_forward_score_as_each_in_its_own() -> None:
    policy = random_policy("tiny", "float32", "cpu")
    (episode,) = play_house(policy, "choose", tasks=1, group=1, turns=2, prompt=40)
    found = list(plain.turns(policy.model, episode))
    context: list[int] = []
    for turn, together in zip(episode.turns, found, strict=True):
        context += turn.prompt
        assert turn.choices is not None
        assert turn.choice is not None
        assert len({len(choice) for choice in turn.choices}) > 1  # some are padded
        alone = torch.stack(
            [plain._of_tokens(policy.model, context, choice, 1).mean() for choice in turn.choices]
        )
        assert together.item() == pytest.approx(alone.log_softmax(-1)[turn.choice].item(), abs=1e-6)
        context += turn.written


def test_relative_error_of_gradients() -> None:
    expected = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    assert plain.relative([torch.tensor([3.0, 0.5]), torch.tensor([4.0])], expected) == 0.1


# how a part ends


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("benchmarks.gpu.made_up")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(parts, "PARTS", {"made.up": Part("made_up:part", 60)})
    return module


def test_a_killed_part_leaves_its_figures(tmp_path: Path, made_up: ModuleType) -> None:
    def part(options: Options, sink: Sink) -> None:
        sink.add("table", "row", "column", 1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    made_up.part = part  # type: ignore[attr-defined]
    end = run_part("made.up", tiny(tmp_path), tmp_path / "figures", 60, "fork")
    assert end.ended == "failed: killed by SIGKILL"
    assert read(tmp_path / "figures") == [Figure("made.up", "table", "row", "column", 1.0)]


def test_a_part_that_hangs_is_ended_with_what_it_started(
    tmp_path: Path, made_up: ModuleType
) -> None:
    def part(options: Options, sink: Sink) -> None:
        child = subprocess.Popen(["sleep", "3600"])
        sink.add("table", "row", "pid", child.pid)
        time.sleep(3600)

    made_up.part = part  # type: ignore[attr-defined]
    end = run_part("made.up", tiny(tmp_path), tmp_path / "figures", 5, "fork")
    assert end.ended == "ended by its time limit of 5 s"
    (figure,) = read(tmp_path / "figures")
    state = Path(f"/proc/{figure.value}/stat")
    assert not state.is_file() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_parts_by_name() -> None:
    assert chosen(None) == list(PARTS)
    wanted = chosen("speed.update, right")
    assert wanted == [name for name in PARTS if name.startswith("right.") or name == "speed.update"]
    assert len(wanted) == 5
    with pytest.raises(ValueError, match="no part 'sped'"):
        chosen("sped")


def test_tables(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    sink = Sink("part", file)
    sink.add("Times", "a", "ours", 0.00012)
    sink.add("Times", "b", "theirs", 1234.5)
    sink.add("Times", "a", "theirs", "out | of memory")
    with file.open("a") as unfinished:
        unfinished.write('{"part": "pa')
    text = markdown({"device": "none"}, read(file), {"part": {"ended": "ok", "seconds": 2.0}})
    assert "| | ours | theirs |\n| --- | ---: | ---: |\n" in text
    assert "| a | 1.20e-04 | out \\| of memory |\n| b |  | 1,234 |\n" in text
    assert "| part | ok | 2 |" in text


# what is measured


def test_the_static_loop_computes_what_the_model_does() -> None:
    model = random_model("tiny", "float32", "cpu")
    with torch.no_grad():  # or every token says itself again, whatever came before
        for parameter in model.model.layers.parameters():
            parameter.mul_(8)
    loop = static.Loop(model, 2, 0, 9)
    loop.token[:] = torch.tensor([[5], [7]])
    rows = [loop.token.clone()]
    with static.attention(model):
        for _ in range(8):
            loop.step()
            rows.append(loop.token.clone())
    ids = torch.cat(rows, 1)
    with torch.inference_mode():
        expected = model(input_ids=ids[:, :-1]).logits.argmax(-1)
    assert ids[:, 1:].tolist() == expected.tolist()
    assert len(set(ids.flatten().tolist())) > 4
    assert model.config._attn_implementation != static.ATTENTION


def test_bytes_by_hand() -> None:
    model = random_model("tiny", "float32", "cpu")
    shape = SHAPES["tiny"]
    assert cache_bytes(model) == shape.layers * 2 * shape.key_heads * 16 * 4
    attention = 64 * 64 * 2 + 64 * 32 * 2 + 64 + 32 * 2
    layer = attention + 3 * 64 * 128 + 2 * 64
    assert weight_bytes(model) == 4 * (2 * layer + 64 + 2048 * 64)


def test_masks_are_counted_while_they_live() -> None:
    found = memory.Masks()
    make = found.watched(torch.zeros)
    kept = make(10)
    for _ in range(3):
        make(20)
    assert found.peak == 4 * 30
    del kept
    make(25)
    assert found.peak == 4 * 30


def test_masks_of_rollout_and_update_are_counted() -> None:
    policy = random_policy("tiny", "float32", "cpu")
    with memory.masks() as found:
        play_house(policy, "react", tasks=1, group=2, turns=1, prompt=30, tokens=3)
    assert found.peak > 0


def test_prompts_have_the_length_asked_for() -> None:
    policy = random_policy("tiny", "float32", "cpu")
    episodes = play_house(policy, "react", tasks=1, group=3, turns=2, prompt=100, tokens=5)
    for episode in episodes:
        assert abs(len(episode.turns[0].prompt) - 100) < 10
        assert [len(turn.written) for turn in episode.turns] == [5, 5]
    assert len({tuple(episode.turns[0].prompt) for episode in episodes}) == 1
    assert len({tuple(episode.turns[0].written) for episode in episodes}) == 3
    (episode,) = play_house(policy, "choose", tasks=1, group=1, turns=1)
    assert episode.turns[0].choices is not None
    assert len({tuple(choice) for choice in episode.turns[0].choices}) == 20
