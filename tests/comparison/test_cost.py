"""What a comparison's runs cost, where orders have their stages' updates in other places."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared import write_stream

from contrail.comparison.cost import costs
from contrail.comparison.plan import ComparisonOptions, read_plan
from contrail.registry.plugins import load_plugins
from contrail.runs.estimate import Estimate, Measured, Part
from contrail.runs.position import Course


def test_a_shared_stage_counts_with_its_own_updates(tmp_path: Path) -> None:
    """Of the stages of 1 and 9 updates, each order shares the first that it has."""
    plugins = load_plugins()
    options = ComparisonOptions(strategies=["sequential", "anchored"], orders="all", seeds=[0])
    path = write_stream(tmp_path)
    plan = read_plan(path, ["stream.0.updates=1", "stream.1.updates=9"], options, plugins)
    parts = [Part("playing", "all", 8, 10, points=[Measured(8, 1, 1, 0)])]
    one = Estimate("one", 10, 80, 0, parts, course=Course((1, 9)))
    plain, anchored = costs(plan, dict.fromkeys(plan.strategies, one), plugins, sharing=True)
    assert plain.seconds == pytest.approx(2 * 10)
    assert anchored.seconds == pytest.approx(9 + 1)
