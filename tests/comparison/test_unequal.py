"""Strategies that would train unequally long are refused before any of them runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from compared import write_stream

from contrail.comparison.launch import compare_stream
from contrail.comparison.plan import ComparisonOptions
from contrail.errors import ContrailError
from contrail.registry.plugins import load_plugins

HALF = """
import contrail

class Half(contrail.Strategy):
    def stages(self, stages):
        return stages[:1]

@contrail.hookimpl
def contrail_strategies(register):
    register("half", Half)
"""


def test_strategies_of_unequal_budgets_are_refused_before_a_run_starts(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(HALF)
    stream = write_stream(tmp_path)
    stream.write_text(stream.read_text().replace("[guess.py, ", "[guess.py, half.py, "))
    asked = ComparisonOptions(strategies=["frozen", "sequential", "half"])  # frozen never trains
    with pytest.raises(ContrailError) as raised:
        compare_stream(stream, (), asked, load_plugins(), out=tmp_path / "out")
    said = str(raised.value)
    assert said.startswith("'sequential' and 'half' are not comparable: "), said
    assert "the first have 2 updates in all, and those of the second 1." in said
    assert not list(tmp_path.glob("out/*seed0/*"))
