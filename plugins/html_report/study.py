"""The page of a study: the claims and their verdicts, and the matrices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.names import visible
from contrail.plugins.html_report.blocks import Block, cell, matrix, section, table, text
from contrail.plugins.reports.study import VERDICTS, about, figures, verdict, warnings

LINKS = "A seed's number opens the cell in the page of its run, with the tasks gained and lost."


def page(study: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the content of a study's page."""
    claims = study["claims"]
    shown = [_matrix(found, directory) for found in study["tables"]]
    linked = any("links" in one for found in shown for row in found["rows"] for one in row["cells"])
    sections = [
        section("answer", "", text(*_answer(study))),
        section("claims", "Claims", _claims(claims, study["rule"]), _rules(claims)),
        section("matrices", "Matrices", text(LINKS) if linked else None, *shown),
    ]
    return {
        "title": visible(f"{study['name']}: {', '.join(study['experiments'])}"),
        "about": visible(about(study)),
        "sections": [found for found in sections if found],
    }


def _answer(study: Mapping[str, Any]) -> list[str]:
    """Return how many claims hold, and what is missing."""
    counts = Counter(claim["verdict"] for claim in study["claims"])
    said = [f"{name}: {counts[name]}" for name in VERDICTS if counts[name]]
    lines = [f"Claims of the study, by verdict: {', '.join(said)}."] if said else []
    return [*lines, *map(visible, warnings(study))]


def _claims(claims: Sequence[Mapping[str, Any]], rule: str) -> Block | None:
    rows = [
        (
            claim["number"],
            claim["claim"],
            verdict(claim),
            "\n".join(figures(claim)),
            claim["published"],
        )
        for claim in claims
    ]
    columns = ("#", "claim", "verdict", "here, with 95% intervals over seeds", "published")
    return table("Claims and verdicts", columns, rows, rule)


def _rules(claims: Sequence[Mapping[str, Any]]) -> Block | None:
    rows = [(claim["number"], claim["rule"]) for claim in claims]
    return table("What is compared", ("#", "rule"), rows)


def _matrix(found: Mapping[str, Any], directory: Path) -> Block:
    """Return a matrix; cells lead to the pages of their runs, where these are there."""
    form = "+.2f" if found["signed"] else ".2f"
    rows = []
    for row in found["rows"]:
        sources = [
            (run, f"runs/{run['run']}/report.html")
            for run in row.get("runs", ())
            if (directory / "runs" / run["run"] / "report.html").is_file()
        ]
        cells = []
        for place, value in enumerate(row["cells"]):
            known = value or {"mean": None, "interval": None}
            links = [
                [str(run["seed"]), f"{file}#cell={run['row']},{run['columns'][place]}"]
                for run, file in sources
                if run["columns"][place] is not None
            ]
            more = {"links": links} if links else {}
            cells.append(cell(known["mean"], known["interval"], form, **more))
        rows.append((visible(row["label"]), cells))
    scale = "change" if found["signed"] else "share"
    columns = [visible(name) for name in found["columns"]]
    return matrix(visible(found["title"]), columns, rows, scale=scale, note=visible(found["note"]))
