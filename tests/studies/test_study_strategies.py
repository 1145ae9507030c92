"""A study takes only strategies of which its claims about sequences say what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contrail import Comparison, ContrailError
from contrail.config import Source
from contrail.errors import ConfigError
from contrail.registry.plugins import load_plugins
from contrail.studies.plan import StudyPlan, read_study

STUDY: dict[str, Any] = {
    "model": "tiny-random",
    "environments": [
        {"name": "textcraft", "label": "craft", "depths": [1, 2], "max_turns": 3},
        {"name": "babyai", "label": "balls", "levels": ["GoToRedBallNoDists"], "max_turns": 3},
    ],
    "updates": 2,
    "evaluate": {"tasks": 8},
}
OWN = """
import contrail


class Sorted(contrail.Strategy):
    "One stage for each, in an order of its own."

    def stages(self, stages):
        return sorted(stages, key=lambda stage: stage.name)


class Filled(contrail.Strategy):
    "A stage for each that has tasks: as the stream, once these are listed."

    def stages(self, stages):
        return [stage for stage in stages if any(stage.tasks.values())]


class Doubled(contrail.Strategy):
    def stages(self, stages):
        return [stage for stage in stages for _ in range(2)]


@contrail.hookimpl
def contrail_strategies(register):
    register("sorted", Sorted)
    register("filled", Filled)
    register("doubled", Doubled)
"""


def plan(tmp_path: Path, experiment: str, strategies: list[Any]) -> StudyPlan:
    (tmp_path / "own.py").write_text(OWN)
    source = Source({**STUDY, "strategies": strategies, "plugins": ["own.py"]})
    source.directory = tmp_path
    plugins = load_plugins()
    return read_study(experiment, source, (), plugins, seeds=[0], jobs=None, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("isolated", "'isolated': every stage begins with the base model"),
        ({"name": "isolated", "label": "mine"}, "'mine': every stage begins with the base model"),
        ("adapters", "'adapters': environments are evaluated with LoRAs of their own"),
        (
            {"name": "mixture", "label": "mm"},
            r"'mm' does not learn a sequence.* of craft > balls it makes 1 \(craft, balls\)",
        ),
        ({"name": "mixture", "label": "mm", "weights": {"nowhere": 1}}, "weights: .*'nowhere'"),
        ("balanced", "'balanced' does not learn a sequence"),
        ("sorted", "of craft > balls it makes 2 "),
        ("doubled", r"of craft > balls it makes 4 \(craft; craft; balls; balls\)"),
    ],
)
@pytest.mark.parametrize("experiment", ["sequence", "mixture"])
def test_what_learns_no_sequence_is_refused_before_anything_is_trained(
    tmp_path: Path, experiment: str, strategy: Any, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        plan(tmp_path, experiment, ["sequential", strategy])
    assert str(error.value).startswith("strategies.1")
    assert re.search(message, str(error.value)), str(error.value)


def test_what_learns_sequences_is_taken(tmp_path: Path) -> None:
    strategies = ["sequential", "replay", "merge", "cumulative", "frozen", "filled"]
    made = plan(tmp_path, "sequence", strategies)
    assert {key[0] for key in made.runs} == set(strategies)


def test_an_experiment_without_sequences_has_no_use_for_them(tmp_path: Path) -> None:
    assert plan(tmp_path, "transfer", ["isolated"]).runs


def test_a_study_without_results_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"runs": ["runs/sequential_a_seed0"]}))
    with pytest.raises(ContrailError, match="is a study without results"):
        Comparison.read(tmp_path, load_plugins())
