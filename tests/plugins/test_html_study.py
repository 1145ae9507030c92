"""The page of a study: what it says, and how a reader gets from a matrix to the episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE
from test_html_browser import LOOKS, browser, reader  # noqa: F401  (fixtures)
from test_html_report import data_of

from contrail.names import visible
from contrail.plugins.html_report import report

CRITERION = {
    "text": "gain",
    "needed": False,
    "mean": 0.3,
    "interval": [0.2, 0.4],
    "seeds": 2,
    "region": "above 0",
}


def cell(mean: float) -> dict[str, Any]:
    return {"mean": mean, "interval": [mean - 0.1, mean + 0.1], "seeds": 2, "values": [mean]}


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Any]:
    """A study with the page of one of two runs."""
    run = tmp_path / "runs" / "sequential_balls_seed0"
    run.mkdir(parents=True)
    (run / "report.html").write_text("<html data-ready><title>its run</title></html>")
    sources = [
        {"seed": seed, "run": f"sequential_balls_seed{seed}", "row": 1, "columns": [2, None]}
        for seed in (0, 1)
    ]
    return {
        "name": HOSTILE,
        "experiment": "transfer",
        "experiments": ["transfer"],
        "left_out": {"interface": HOSTILE},
        "failed": {},
        "paper": "",
        "rule": "The rule.",
        "model": HOSTILE,
        "adapter": "choose",
        "environments": [HOSTILE, "craft"],
        "seeds": [0, 1],
        "test_tasks": 8,
        "runs": {"planned": 2, "ended": 2, "directories": []},
        "cpu_seconds": 60.0,
        "claims": [
            {
                "number": number,
                "claim": "they gain",
                "published": "+3",
                "rule": "gain above 0",
                "criteria": [CRITERION],
                "verdict": said,
                "reason": "",
            }
            for number, said in (("4", "holds"), ("5a", "does not hold"), ("6", "holds"))
        ],
        "tables": [
            {
                "title": HOSTILE,
                "note": HOSTILE,
                "columns": [HOSTILE, "average"],
                "signed": True,
                "rows": [
                    {"label": HOSTILE, "cells": [cell(-0.25), None], "runs": sources},
                    {"label": "random play", "cells": [cell(0.5), cell(0.5)]},
                ],
            }
        ],
    }


def test_what_it_says(study: dict[str, Any], tmp_path: Path) -> None:
    report.contrail_study(study, str(tmp_path))
    data = data_of(tmp_path / "transfer.html")
    answer, claims, matrices = data["sections"]
    counted = "Claims of the study, by verdict: holds: 2, does not hold: 1."
    assert answer["blocks"][0]["lines"] == [counted, visible(f"Left out: interface: {HOSTILE}")]
    verdicts, rules = claims["blocks"]
    shown = "gain +0.30 [+0.20, +0.40], 2 seeds; wanted above 0"
    assert verdicts["rows"][1] == ["5a", "they gain", "does not hold", shown, "+3"]
    assert verdicts["note"] == "The rule."
    assert rules["rows"][0] == ["4", "gain above 0"]
    matrix = matrices["blocks"][1]
    assert matrix["scale"] == "change"
    first, second = (row["cells"] for row in matrix["rows"])
    page = "runs/sequential_balls_seed0/report.html#cell=1,2"
    assert first[0]["links"] == [["0", page]]  # seed 1 has no page
    assert (first[0]["shown"], first[0]["interval"]) == ("-0.25", "[-0.35, -0.15]")
    assert first[1]["value"] is None
    assert not any("links" in one for one in (first[1], *second))


@pytest.mark.parametrize("look", LOOKS)
def test_in_a_browser(study: dict[str, Any], look: str, reader: Any, tmp_path: Path) -> None:  # noqa: F811
    report.contrail_study(study, str(tmp_path))
    page = reader.open(tmp_path / "transfer.html", look=look)
    assert page.locator("h1").inner_text() == visible(f"{HOSTILE}: transfer")
    assert page.locator("script").count() == page.locator("head script, body > script").count()
    assert reader.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#matrices .links a").first.click()
    page.wait_for_url("**/report.html#cell=1,2")
    assert page.title() == "its run"
