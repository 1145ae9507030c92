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
def test_samples_install_pass_their_tests_and_run(tmp_path: Path) -> None:
    packages = {}
    for sample in SAMPLES:
        package = packages[sample.removeprefix("contrail-")] = tmp_path / sample
        shutil.copytree(ROOT / "examples/plugins" / sample, package)
    install(tmp_path / "target", *packages.values())
    # What is used is the installed module.
    for package in packages.values():
        for path in package.glob("contrail_*.py"):
            path.unlink()
    printed = try_out(tmp_path / "target", packages)
    assert printed.count("3 passed") == len(SAMPLES)
    for package in packages.values():
        result = json.loads((package / "runs/stream/result.json").read_text())
        # No toy that is solved before any training.
        assert max(result["R"][0]) < 1
