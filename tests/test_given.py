"""What a call from Python is given: values of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

import contrail
from contrail.config import Source, load
from contrail.given import Given

STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "stream": [{"environment": {"name": "textcraft", "depths": [1]}, "updates": 1}],
    "evaluate": {"tasks": 2, "baselines": False},
    "grpo": {"num_generations": 2, "generation_batch_size": 4},
}


def test_values_are_taken_as_they_are(tmp_path: Path) -> None:
    """Texts that look like numbers, and what numpy has computed."""
    given = Given([])
    for text in ("1e5", "1e-3", "007", "1.50", "on", "1:30", "0x10", "a b", "null", "${x}", "é"):
        [override] = given.overrides([], {"name": text})
        source = Source(dict(STREAM))
        if text != "${x}":
            assert load(source, [override], given.plugins)[0].name == text, override
    assert given.overrides([], {"seed": numpy.int64(3)}) == ["seed=3"]
    assert given.named({"a": numpy.arange(2), "b": [numpy.float64(0.5)]}) == {
        "a": [0, 1],
        "b": [0.5],
    }
    stream = {**STREAM, "seed": numpy.int64(5)}
    run = contrail.run(stream, out=tmp_path / "run", quiet=True)
    assert run.record["seed"] == 5
