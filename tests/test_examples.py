"""The sample packages in examples/plugins, as somebody else would use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from packages import ROOT, install, try_out

SAMPLES = sorted(path.name for path in (ROOT / "examples/plugins").iterdir())


def test_there_are_an_environment_an_adapter_and_a_strategy() -> None:
    texts = [path.read_text() for path in (ROOT / "examples/plugins").glob("*/contrail_*.py")]
    for hook in ("contrail_environments", "contrail_adapters", "contrail_strategies"):
        assert sum(f"def {hook}" in text for text in texts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_installs_passes_its_tests_and_runs(sample: str, tmp_path: Path) -> None:
    package = tmp_path / sample
    shutil.copytree(ROOT / "examples/plugins" / sample, package)
    install(package, tmp_path / "target")
    # What is used is the installed module.
    for path in package.glob("contrail_*.py"):
        path.unlink()
    printed = try_out(sample.removeprefix("contrail-"), package, tmp_path / "target")
    assert "3 passed" in printed
    result = json.loads((package / "runs/stream/result.json").read_text())
    # No toy that is solved before any training.
    assert min(result["R"][0]) < 1
