"""How much a study is estimated to do: its strategies' stages count, not the stream's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contrail.config import Source
from contrail.registry.plugins import load_plugins
from contrail.studies.cost import _amount
from contrail.studies.plan import read_study

STUDY: dict[str, Any] = {
    "model": "tiny-random",
    "environments": [
        {"name": "textcraft", "label": "craft", "depths": [1, 2], "max_turns": 3},
        {
            "environment": {"name": "babyai", "label": "balls", "levels": ["GoToRedBallNoDists"]},
            "updates": 3,
        },
    ],
    "updates": 2,
    "evaluate": {"tasks": 8},
}
NEEDS_TASKS = """
import contrail


class First(contrail.Strategy):
    def stages(self, stages):
        first = [stage.tasks[name][0] for stage in stages for name in stage.tasks]
        return list(stages)[: len(first)]


@contrail.hookimpl
def contrail_strategies(register):
    register("first", First)
"""


def amount(tmp_path: Path, experiment: str, **changes: Any) -> tuple[int, int, bool]:
    plugins = load_plugins()
    made = Source({**STUDY, **changes})
    made.directory = tmp_path
    plan = read_study(experiment, made, (), plugins, seeds=[0], jobs=None, out=tmp_path / "out")
    return _amount(plan, plugins)


@pytest.mark.parametrize(
    ("strategies", "expected"),
    [
        (["sequential"], (10, 5, True)),
        # The model that is not trained is evaluated once in each order, after the row it is given.
        (["sequential", "frozen"], (10, 7, True)),
        # The first stage is that of `sequential`.
        (["sequential", "cumulative"], (15, 7, True)),
        (["sequential", "merge"], (20, 9, True)),
    ],
)
def test_strategies_in_two_orders(
    tmp_path: Path, strategies: list[str], expected: tuple[int, int, bool]
) -> None:
    assert amount(tmp_path, "sequence", strategies=strategies) == expected


def test_a_mixture_has_one_stage(tmp_path: Path) -> None:
    updates, evaluations, exact = amount(tmp_path, "mixture")
    assert (updates - 10, evaluations - 5, exact) == (5, 1, True)


def test_curves_count_and_depend_on_what_is_learnt(tmp_path: Path) -> None:
    changes = {"evaluate": {"tasks": 8, "every": 1}}
    # Either order has 5 updates. The second has the row before training, and evaluates it again.
    assert amount(tmp_path, "sequence", **changes) == (10, 12, False)


def test_a_strategy_that_needs_tasks_has_the_stages_of_the_stream(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(NEEDS_TASKS)
    found = amount(tmp_path, "sequence", strategies=["first"], plugins=["first.py"])
    assert found == (10, 5, False)  # its stages are not known
