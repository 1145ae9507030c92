"""A comparison for other programs: compare.csv, compare.runs.csv, and compare.tex for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import contrail
from contrail.plugins.comparison import HEADINGS, shown_metrics
from contrail.plugins.table import write

COLUMNS = (
    "strategy",
    "quantity",
    "seeds",
    "mean",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
)

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
}


@contrail.hookimpl
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Write compare.csv (a row for each strategy and quantity), compare.runs.csv (a row for each
    run) and compare.tex."""
    place = Path(directory)
    write(place / "compare.csv", _csv(COLUMNS, quantities(comparison)))
    runs = run_rows(comparison)
    columns = list(dict.fromkeys(name for run in runs for name in run))
    write(place / "compare.runs.csv", _csv(columns, runs))
    write(place / "compare.tex", latex(comparison).encode())


def quantities(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Keyed by `COLUMNS`; what is undefined is None (an empty cell)."""
    rows = []
    for label, item in comparison["summary"].items():
        named = dict(item["metrics"])
        named.update((f"success {name}", value) for name, value in item["success"].items())
        for name, value in named.items():
            low, high = value["interval"] or (None, None)
            difference = value["difference"] or {"mean": None, "interval": None}
            low_d, high_d = difference["interval"] or (None, None)
            cells = (label, name, value["seeds"], value["mean"], low, high)
            row = (*cells, difference["mean"], low_d, high_d)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def run_rows(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Each run with its metrics, its success at the end and its budget."""
    return [
        {
            "run": row["run"],
            "strategy": row["strategy"],
            "order": " > ".join(comparison["orders"][row["order"]]),
            "seed": row["seed"],
            **row["metrics"],
            **{
                f"success {name}": score
                for name, score in zip(row["environments"], row["R"][-1], strict=True)
            },
            **row["budget"],
        }
        for row in comparison["rows"]
    ]


def latex(comparison: dict[str, Any]) -> str:
    """A tabular of the metrics, for a document with the package booktabs."""
    metrics = shown_metrics(comparison)
    lines = [
        f"% {comparison['name']}: mean and half of the 95% interval over "
        f"{len(comparison['seeds'])} seeds. Needs \\usepackage{{booktabs}}.",
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        _line(["strategy", *(HEADINGS[name] for name in metrics)]),
        r"\midrule",
    ]
    for label, item in comparison["summary"].items():
        cells = [_cell(item["metrics"][name]) for name in metrics]
        lines.append(_line([label], cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(texts: Sequence[str], cells: Sequence[str] = ()) -> str:
    escaped = ["".join(_LATEX.get(letter, letter) for letter in text) for text in texts]
    return " & ".join([*escaped, *cells]) + r" \\"


def _cell(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "--"
    if value["interval"] is None:
        return f"${value['mean']:.2f}$"
    low, high = value["interval"]
    return rf"${value['mean']:.2f} \pm {(high - low) / 2:.2f}$"


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
