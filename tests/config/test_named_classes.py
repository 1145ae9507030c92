"""A strategy that is named by its file is found again from any directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.comparison.gather import _shortened
from contrail.config import Source, load, to_yaml
from contrail.errors import ConfigError
from contrail.registry.plugins import load_plugins

STREAM = """
model: tiny-random
plugins: [contrail.check.world]
strategy: [{name: "mine.py:Keep", share: 0.5}, kl]
stream: [{environment: crossroads, updates: 1}]
evaluate: {tasks: 2, baselines: false}
trackers: []
grpo: {num_generations: 4, generation_batch_size: 8}
"""
CODE = """
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    share: float = 0.1

class Keep(contrail.Strategy):
    Config = Settings
"""


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.py").write_text(CODE)
    (folder / "stream.yaml").write_text(STREAM)
    return folder / "stream.yaml"


def test_the_written_configuration_loads_from_anywhere(stream: Path, tmp_path: Path) -> None:
    config, _ = load(Source(stream), (), load_plugins())
    assert config.strategy.name == "mine.py:Keep+kl"
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere/config.yaml"
    copy.write_text(to_yaml(config))
    again, _ = load(Source(copy), (), load_plugins())
    assert to_yaml(again) == to_yaml(config)
    assert again.strategies[0].name == "mine.py:Keep"
    assert again.strategies[0].settings.share == 0.5


def test_files_of_one_name_are_told_apart(stream: Path, tmp_path: Path) -> None:
    plugins = load_plugins()
    first, plugins = load(Source(stream), (), plugins)
    (tmp_path / "mine.py").write_text(CODE.replace("0.1", "0.2"))
    (tmp_path / "stream.yaml").write_text(STREAM.replace(", share: 0.5", ""))
    second, _ = load(Source(tmp_path / "stream.yaml"), (), plugins)
    assert first.strategies[0].settings.share == 0.5
    assert second.strategies[0].settings.share == 0.2
    assert second.strategies[0].name == f"{tmp_path / 'mine.py'}:Keep"


def test_a_run_and_a_comparison(stream: Path, tmp_path: Path) -> None:
    run = contrail.run(stream, out=tmp_path / "run", quiet=True)
    assert run.record["strategy"] == "mine.py:Keep+kl"
    assert contrail.evaluate(run.directory, ["crossroads"], tasks=1, quiet=True)
    assert contrail.run(run.directory / "config.yaml", out=run.directory, quiet=True)
    found = contrail.compare(
        stream,
        strategies=["sequential", "mine.py:Keep"],
        seeds=[0],
        out=tmp_path / "compared",
        quiet=True,
    )
    assert set(found.record["strategies"]) == {"sequential", "mine.py:Keep"}


def test_a_class_in_a_file_is_checked_as_one_that_is_registered(stream: Path) -> None:
    code = f"{CODE}    def state_dict(self): return {{}}\n"
    (stream.parent / "mine.py").write_text(code)
    with pytest.raises(ConfigError, match="Keep defines state_dict without load_state_dict"):
        load(Source(stream), (), load_plugins())


def test_tables_of_runs_leave_out_the_directory() -> None:
    first: dict[str, Any] = {"name": "/a/own.py:Keep", "share": 1}
    kl = {"name": "kl"}
    old = {**first, "name": "own.py:Keep"}
    assert _shortened([first, [kl, first], old]) == [old, [kl, old], old]
    other = {**first, "name": "/b/own.py:Keep"}
    assert _shortened([first, other, kl]) == [first, other, kl]
