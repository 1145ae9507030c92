"""result.csv and result.difficulty.csv; and R as text, for the other reports."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contrail
from contrail.names import visible_names
from contrail.tables import baseline, columns, curve_rows, difficulty_rows, row_names, rows

MOST_LINES = 8  # of a folded name
UNDEFINED = "\N{EN DASH}"
ABOVE, BELOW = ("random",), ("expert",)  # players without a model: their places around R


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Write result.csv; result.difficulty.csv, where tasks have a difficulty; and
    result.curves.csv, where environments were evaluated within stages."""
    result = visible_names(result)
    files = {"result.csv": (columns(result), rows(result))}
    others = {"difficulty": difficulty_rows(result), "curves": curve_rows(result)}
    for kind, found in others.items():
        if found:
            files[f"result.{kind}.csv"] = (list(found[0]), found)
    for name, (keys, content) in files.items():
        write(Path(directory, name), csv_table(keys, content))


def csv_table(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows keyed by `columns`, as a file; a spreadsheet takes none of the names for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if formula else value


@dataclass(frozen=True)
class Row:
    """A row of R as it is shown; `stage` is None for a player without a model."""

    name: str
    scores: Sequence[float | None]
    intervals: Sequence[Sequence[float] | None]
    stage: int | None = None


def shown_rows(result: dict[str, Any]) -> list[Row]:
    """Return the rows of R, between those of the players without a model, if there are any."""
    stages = [
        Row(name, result["R"][i], result["interval"][i], i)
        for i, name in enumerate(row_names(result))
    ]
    return [*_players(result, ABOVE), *stages, *_players(result, BELOW)]


def _players(result: dict[str, Any], names: Sequence[str]) -> list[Row]:
    made = []
    for name in names:
        found = [baseline(result, name, item) or {} for item in result["environments"]]
        if any(found):
            scores = [item.get("success") for item in found]
            made.append(Row(name, scores, [item.get("interval") for item in found]))
    return made


def trained_on(result: dict[str, Any], row: int, column: int) -> bool:
    """Return whether the stage before `row` trained on the environment of `column`."""
    return row > 0 and result["environments"][column] in result["trained"][row - 1]


def number(value: float | None, form: str = ".2f") -> str:
    """Return a number for reading; undefined is a dash, never 0."""
    return UNDEFINED if value is None else rounded(value, form)


def interval(ends: Sequence[float] | None, form: str = ".2f") -> str:
    """Return an interval as text; "" if there is none: the dash of its value says enough."""
    return "" if ends is None else f"[{rounded(ends[0], form)}, {rounded(ends[1], form)}]"


def estimate(
    value: float | None,
    ends: Sequence[float] | None,
    form: str = ".2f",
    between: str = " ",
) -> str:
    """Return a value with its interval, if it has one: "0.62 [0.51, 0.73]"."""
    return between.join(filter(None, (number(value, form), interval(ends, form))))


def rounded(value: float, form: str) -> str:
    """Return a number as text; what is rounded to nothing has no minus: "0.00", "+0.00"."""
    if isinstance(value, int):
        return format(value, form)
    sign = form[: form.startswith("+")]
    return format(value, f"{sign}z{form.removeprefix(sign)}")


def folded(name: str, width: int) -> str:
    """Return a long name on several lines of at most `width`, broken after - _ + / if it has any.

    A very long name loses its end.
    """
    lines = [""]
    for part in re.findall(r"[^-_+/\s]*[-_+/\s]?", name):
        if len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [lines[MOST_LINES - 1][: width - 1] + "…"]
    return "\n".join(lines)


def markdown(result: dict[str, Any]) -> str:
    """R as a Markdown table: a row per stage, a column per environment, own stages in bold, and the
    players without a model in italics."""
    result = visible_names(result)
    names = [_escaped(name) for name in result["environments"]]
    lines = [["", *names], ["---"] * (len(names) + 1)]
    for row in shown_rows(result):
        cells = []
        for j, value in enumerate(row.scores):
            own = row.stage is not None and trained_on(result, row.stage, j)
            score = f"**{number(value)}**" if own else number(value)
            cells.append(f"{score} {interval(row.intervals[j])}".rstrip())
        name = _escaped(row.name)
        lines.append([name if row.stage is not None else f"*{name}*", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(name: str) -> str:
    """Return a name as text in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", name)


def write(path: Path, content: bytes) -> None:
    """Put a report in its place whole: a reader never meets half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
