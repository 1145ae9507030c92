"""The warm-up: a first stage that is the same for all strategies, and before the stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from killed import killed_after

import contrail
from benchmarks.kill import differences
from contrail import ConfigError
from contrail.metrics.transfer import TaskScores

GUESS = Path(__file__).parents[2] / "examples/guess.py"


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stream whose warm-up shows solutions."""
    monkeypatch.chdir(tmp_path)
    near = {"name": "guess-number", "label": "near", "max_turns": 2}
    far = {**near, "label": "far", "max_turns": 3}
    numbers = [n for n in range(1, 21) if n % 4]
    shown = [
        {"task": f"number-{n}", "success": True, "turns": [{"action": str(n)}]} for n in numbers
    ]
    Path("shown.jsonl").write_text("".join(json.dumps(item) + "\n" for item in shown))
    return {
        "model": "tiny-random",
        "plugins": [str(GUESS)],
        "warmup": {"updates": 2, "learn": {"name": "imitate", "episodes": "shown.jsonl"}},
        "stream": [
            {
                "environment": {"name": "guess-number", "label": "near", "max_turns": 2},
                "updates": 1,
            },
            {"environment": far, "updates": 1},
        ],
        "evaluate": {"tasks": 4, "baselines": False, "samples": 4},
        "grpo": {"num_generations": 4, "generation_batch_size": 8, "learning_rate": 1e-2},
        "lora": {"r": 4},
    }


def tensors(run: Path, checkpoint: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(run / f"checkpoints/{checkpoint}/adapter_model.safetensors")


def test_rows_and_metrics(stream: dict[str, Any], tmp_path: Path) -> None:
    found = contrail.run(stream, out=tmp_path / "run", quiet=True)
    assert found.stages == ["warmup", "near", "far"]
    assert found.R.shape == (4, 2)
    record = found.record
    assert [sorted(names) for names in record["trained"]] == [["far", "near"], ["near"], ["far"]]
    assert record["own"][0] == []
    shown = [e for e in found.episodes() if e.get("demonstrated")]
    assert {e["environment"] for e in shown} == {"near", "far"}
    # The stream is judged from where the warm-up ended.
    assert record["metrics"]["delta_overall"] == pytest.approx((found.R[3] - found.R[1]).mean())
    assert record["metrics"]["backward_transfer"] == pytest.approx(found.R[3, 0] - found.R[2, 0])
    assert record["metrics"]["forward_transfer"] == pytest.approx(found.R[2, 1] - found.R[1, 1])
    change = numpy.array(record["change"]["value"], float)
    assert change == pytest.approx(found.R - found.R[1])
    assert TaskScores.read(record).stages == 2


def test_no_strategy_has_a_say_in_it(stream: dict[str, Any], tmp_path: Path) -> None:
    """`normalize: false` weighs environments by the lengths of their episodes, but not yet here."""
    turns = [{"action": "20"}, {"action": "17"}]
    lines = [json.loads(line) for line in Path("shown.jsonl").read_text().splitlines()]
    for item in lines:
        item["turns"] = [*turns, *item["turns"]][-2 if item["task"][-1] in "13579" else -1 :]
    Path("shown.jsonl").write_text("".join(json.dumps(item) + "\n" for item in lines))
    found = []
    for strategy in ("sequential", "replay", {"name": "replay", "normalize": False}):
        out = tmp_path / f"run{len(found)}"
        contrail.run({**stream, "strategy": strategy}, out=out, quiet=True)
        found.append([tensors(out, row) for row in ("001", "003")])
    first = found[0][0]
    for other, _ in found[1:]:
        assert all(bool((other[name] == value).all()) for name, value in first.items())
    _, (_, normalised), (_, by_length) = found
    assert any(bool((by_length[name] != value).any()) for name, value in normalised.items())


def test_drift_begins_after_it(stream: dict[str, Any], tmp_path: Path) -> None:
    stream["evaluate"] = {**stream.get("evaluate", {}), "drift": True}
    drift = contrail.run(stream, out=tmp_path / "run", quiet=True).record["drift"]
    for kind in ("base", "previous"):
        _, first, second, _ = drift[kind]["per_decision"]["value"]
        assert first == [None, None]  # it is the base, and no stage of the stream
        assert all(value > 0 for value in second)
        assert drift[kind]["per_decision"]["mean"][1] is None


def test_strategies_begin_after_it(stream: dict[str, Any], tmp_path: Path) -> None:
    """Alone, in every order and under every strategy the warm start is the same."""
    plain = contrail.run(stream, out=tmp_path / "plain", quiet=True).directory
    isolated = contrail.run(
        {**stream, "strategy": "isolated", "stream": stream["stream"][::-1]},
        out=tmp_path / "isolated",
        quiet=True,
    ).directory
    adapters = contrail.run(
        {**stream, "strategy": "adapters"}, out=tmp_path / "adapters", quiet=True
    )
    for name, item in tensors(plain, "001").items():
        assert item.equal(tensors(isolated, "001")[name])
        assert item.equal(tensors(adapters.directory, "001")[name])
    still = contrail.run(
        {**stream, "strategy": "isolated", "grpo": {**stream["grpo"], "learning_rate": 0.0}},
        out=tmp_path / "still",
        quiet=True,
    ).directory
    # Each stage of `isolated` begins with the warm start, not with the untrained model.
    for name, item in tensors(still, "003").items():
        assert item.equal(tensors(still, "001")[name])
    R = adapters.R  # "far" has no LoRA of its own before its stage: the warm start's plays it
    assert R[2, 1] == R[1, 1]


def test_an_environment_that_is_added_later(stream: dict[str, Any], tmp_path: Path) -> None:
    """Before the warm-up it is played by the untrained model, whatever the strategy."""
    stream["strategy"] = "adapters"
    held = {"name": "guess-number", "label": "held", "max_turns": 4}
    more = {**stream, "evaluate": {**stream["evaluate"], "environments": [held]}}
    at_once = contrail.run(more, out=tmp_path / "at_once", quiet=True)
    contrail.run(stream, out=tmp_path / "extended", quiet=True)
    contrail.run(more, out=tmp_path / "extended", quiet=True)
    assert not differences(tmp_path / "extended", at_once.directory)


def test_a_damaged_warm_up_is_made_again(
    stream: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Later checkpoints need it: strategies and drift begin with its policy."""
    stream["strategy"] = "adapters"
    stream["stream"][1]["updates"] = 2
    stream["checkpoint"] = {"updates": 1}
    undisturbed = contrail.run(stream, out=tmp_path / "undisturbed", quiet=True).directory
    with killed_after(5):
        contrail.run(stream, out=tmp_path / "run", quiet=True)
    assert (tmp_path / "run/checkpoints/002-00001").is_dir()
    lora = tmp_path / "run/checkpoints/001/adapter_model.safetensors"
    lora.write_bytes(lora.read_bytes()[:-1])
    contrail.run(stream, out=tmp_path / "run")
    said = " ".join(capsys.readouterr().err.split())
    assert "002-00001 is of no use: checkpoint" in said
    assert "adapter_model.safetensors is damaged. It is passed over." in said
    assert not differences(tmp_path / "run", undisturbed)


@pytest.mark.usefixtures("quick_comparisons")
def test_a_comparison_shares_it(stream: dict[str, Any], tmp_path: Path) -> None:
    stream["strategy"] = "sequential"
    found = contrail.compare(
        stream, strategies=["sequential", "isolated", "mixture"], seeds=[0], out=tmp_path / "all"
    )
    assert not found.failed
    saved = {item["run"]: item for item in json.loads((tmp_path / "all/shared.json").read_text())}
    assert len(saved) == 2
    assert all(item["updates"] >= 2 for item in saved.values())
    starts = {
        tuple(R[1])
        for R in (
            json.loads(file.read_text())["R"] for file in (tmp_path / "all").rglob("result.json")
        )
    }
    assert len(starts) == 1


def test_mistakes(stream: dict[str, Any], tmp_path: Path) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            contrail.run({**stream, **changes}, out=tmp_path / "refused", quiet=True)
        return str(caught.value)

    assert "warmup.update" in refused(warmup={"update": 3})
    assert "warmup.updates: 0 is too small" in refused(warmup=0)
    assert "no objective is called 'imitat'" in refused(warmup={"learn": "imitat"})
    near = stream["stream"][0]
    other = {**near, "adapter": "react"}
    assert "warmup: " in refused(stream=[near, other])
    contrail.run(stream, out=tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match="its warm-up would have covered them"):
        contrail.run(
            {**stream, "stream": [*stream["stream"], near]}, out=tmp_path / "run", quiet=True
        )
