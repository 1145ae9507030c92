"""The worst environment is said to be measured on other tasks, where it is above the average."""

from __future__ import annotations

from typing import Any

import pytest
from compared import row
from results import make_result

from contrail.comparison.summary import summarise
from contrail.plugins.reports import comparison, console

NOTE = "chosen on one half of the test tasks and measured on the other"


@pytest.mark.parametrize(
    ("worst", "average", "said"),
    [
        (1.0, 0.99, True),
        (0.4, 0.5, False),
        (0.5, 0.5, False),
        (None, 0.5, False),
        (1.0, None, False),
    ],
)
def test_of_a_run(worst: float | None, average: float | None, said: bool) -> None:
    result: dict[str, Any] = make_result()
    result["metrics"] |= {"worst_environment": worst, "average_score": average}
    assert any(NOTE in line for line in console.notes(result)) == said


def test_of_a_comparison() -> None:
    order = ("babyai", "textcraft")
    rows = [
        row(name, [[0.4, 0.3, 0.2], [0.9, 0.3, 0.2], [0.9, 0.9, 0.2]])
        for name in ("sequential", "kl")
    ]
    found = summarise("it", rows, ["sequential", "kl"], [order], [0], "sequential")
    found |= {"evaluate": make_result()["evaluate"], "shared": None, "failed": {}}
    assert not any(NOTE in line for line in comparison.notes(found))
    found["summary"]["kl"]["metrics"]["worst_environment"]["mean"] = 1.0
    (line,) = [line for line in comparison.notes(found) if NOTE in line]
    assert line.startswith("Worst environment of kl is above average score")
