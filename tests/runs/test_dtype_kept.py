"""A run computes in one type of numbers, also where it goes on on another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import contrail
from contrail.check.world import NAME
from contrail.model import policy

STREAM = {
    "model": "tiny-random",
    "plugins": ["contrail.check.world"],
    "stream": [{"environment": {"name": NAME, "rule": "north"}, "updates": 1}],
    "evaluate": {"tasks": 4, "baselines": False},
    "trackers": [],
    "grpo": {"num_generations": 4, "generation_batch_size": 8},
}


@pytest.mark.parametrize("other", ["float32", "bfloat16"])
def test_a_run_keeps_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    first = "bfloat16" if other == "float32" else "float32"
    made: list[str] = []
    load = policy.load_base

    def loaded(name: str, **keys: str) -> object:
        base, tokenizer = load(name, **keys)
        made.append(str(base.dtype).removeprefix("torch."))
        return base, tokenizer

    monkeypatch.setattr("contrail.runs.policies.load_base", loaded)
    monkeypatch.setattr(policy, "fast_dtype", lambda device: first)
    contrail.run(STREAM, out=tmp_path / "run", quiet=True)
    monkeypatch.setattr(policy, "fast_dtype", lambda device: other)
    found = contrail.run(STREAM, "stream.0.updates=2", out=tmp_path / "run", quiet=True)
    assert found.record["budget"]["updates"] == 2
    contrail.evaluate(tmp_path / "run", found.environments, quiet=True)
    assert made == [first] * 3
    assert found.record["provenance"]["hardware"]["dtype"] == first
