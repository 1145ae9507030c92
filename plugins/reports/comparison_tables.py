"""A comparison for other programs: compare.csv, compare.runs.csv, and compare.tex for a paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import contrail
from contrail.names import visible_names
from contrail.plugins.reports.comparison_names import (
    HEADINGS,
    form_of,
    shown_budget,
    shown_metrics,
)
from contrail.plugins.reports.table import csv_table, rounded, write
from contrail.tables import QUANTITY, quantities, run_rows

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # After the end of a row, these would be its options.
    "[": "{[}",
    "*": "{*}",
}


@contrail.hookimpl
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Write compare.csv (a row for each strategy and quantity), compare.runs.csv (a row for each
    run) and compare.tex (metrics, differences, success and budget)."""
    place = Path(directory)
    comparison = visible_names(comparison)
    write(place / "compare.csv", csv_table(QUANTITY, quantities(comparison)))
    runs = run_rows(comparison)
    columns = list(dict.fromkeys(name for run in runs for name in run))
    write(place / "compare.runs.csv", csv_table(columns, runs))
    write(place / "compare.tex", latex(comparison).encode())


def latex(comparison: dict[str, Any]) -> str:
    """Return the terminal's tables as LaTeX tabulars, for a document with the package booktabs."""
    comparison = visible_names(comparison)
    summary = comparison["summary"]
    metrics = {name: HEADINGS[name] for name in shown_metrics(comparison)}
    success = {name: name for name in comparison["environments"]}
    others = [label for label in summary if label != comparison["baseline"]]
    budget = shown_budget(comparison)
    parts = {
        "Metrics": _tabular(
            metrics.values(),
            {
                label: [_cell(item["metrics"][key], form_of(key)) for key in metrics]
                for label, item in summary.items()
            },
        ),
        f"Differences to {comparison['baseline']}, paired by seed": _tabular(
            metrics.values(),
            {
                label: [
                    _cell(summary[label]["metrics"][key]["difference"], f"+{form_of(key)}")
                    for key in metrics
                ]
                for label in others
            },
        ),
        "Success at the end": _tabular(
            success.values(),
            {
                label: [_cell(item["success"][key]) for key in success]
                for label, item in summary.items()
            },
        ),
        "Budget of a run (means)": _tabular(
            budget.values(),
            {
                label: [
                    f"${item['budget'][key]:.0f}$" if key in item["budget"] else "--"
                    for key in budget
                ]
                for label, item in summary.items()
            },
        ),
    }
    head = (
        f"% {comparison['name']}: means and 95% intervals over "
        f"{len(comparison['seeds'])} seeds. Needs \\usepackage{{booktabs}}."
    )
    shown = [f"\n% {title}\n{text}" for title, text in parts.items() if text]
    return "\n".join([head, *shown, ""])


def _tabular(headings: Iterable[str], rows: Mapping[str, Sequence[str]]) -> str:
    if not rows:  # one strategy alone has no differences
        return ""
    names = ["strategy", *headings]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
        r"\toprule",
        _line(names),
        r"\midrule",
        *(_line([label], cells) for label, cells in rows.items()),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _line(texts: Sequence[str], cells: Sequence[str] = ()) -> str:
    escaped = ["".join(_LATEX.get(letter, letter) for letter in text) for text in texts]
    return " & ".join([*escaped, *cells]) + r" \\"


def _cell(value: dict[str, Any], form: str = ".2f") -> str:
    if value["mean"] is None:
        return "--"
    mean = rounded(value["mean"], form)
    if value["interval"] is None:
        return f"${mean}$"
    low, high = (rounded(end, form) for end in value["interval"])
    return rf"${mean}$ {{\scriptsize [{low}, {high}]}}"
