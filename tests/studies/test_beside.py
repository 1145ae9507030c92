"""The verdicts of studies side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.studies.beside import side_by_side

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"


def claim(number: str, verdict: str, mean: float | None = 0.25) -> dict[str, Any]:
    figures = {"mean": mean, "interval": None if mean is None else [mean - 0.1, mean + 0.1]}
    criterion = {"text": f"gain {number}", **figures}
    return {
        "number": number,
        "claim": f"Claim {number}",
        "verdict": verdict,
        "criteria": [criterion],
    }


@pytest.mark.parametrize(
    ("verdicts", "agreement"),
    [
        ((HOLDS, HOLDS), "agree"),
        ((FAILS, FAILS), "agree"),
        ((HOLDS, FAILS), "disagree"),
        ((HOLDS, OPEN), "cannot be told"),
        ((OPEN, OPEN), "cannot be told"),
        ((HOLDS, None), "cannot be told"),
        ((HOLDS, OPEN, FAILS), "disagree"),
        ((HOLDS, HOLDS, OPEN), "cannot be told"),
        ((HOLDS, HOLDS, HOLDS), "agree"),
    ],
)
def test_studies_disagree_where_verdicts_are_told(
    verdicts: tuple[str | None, ...], agreement: str
) -> None:
    studies = [[{"claims": [claim("4", v)] if v is not None else []}] for v in verdicts]
    (found,) = side_by_side(studies)
    assert found["agreement"] == agreement
    assert found["verdicts"] == list(verdicts)
    assert [item is None for item in found["criteria"]["gain 4"]] == [v is None for v in verdicts]


def test_claims_of_all_experiments_in_the_papers_order() -> None:
    first = [
        {"claims": [claim("12", OPEN, None)]},
        {"claims": [claim("5a", HOLDS), claim("5b", FAILS)]},
    ]
    found = side_by_side([first, [{"claims": [claim("4", HOLDS)]}]])
    assert [item["number"] for item in found] == ["4", "5a", "5b", "12"]
    assert found[-1]["criteria"] == {"gain 12": [None, None]}


def test_the_newest_verdict_counts(tmp_path: Path) -> None:
    for directory, verdicts in (("one", (OPEN, HOLDS)), ("other", (FAILS, OPEN))):
        (tmp_path / directory / "runs").mkdir(parents=True)
        for time, (name, verdict) in enumerate(zip(("all", "transfer"), verdicts, strict=True)):
            path = tmp_path / directory / f"{name}.json"
            content = {"experiment": name, "claims": [claim("4", verdict)], "failed": {}}
            path.write_text(json.dumps(content))
            os.utime(path, (time, time))
    (found,) = contrail.Study.beside(tmp_path / "one", tmp_path / "other")
    assert found["verdicts"] == [HOLDS, OPEN]
    names = [item.record["experiment"] for item in contrail.Study.find(tmp_path / "one")]
    assert names == ["transfer", "all"]
