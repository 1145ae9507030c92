"""Figures, written down one by one as they are found, and the tables made of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A cell of a table: `value` is a number or a few words; `part` found it."""

    part: str
    table: str
    row: str
    column: str
    value: float | str


class Sink:
    """Where a part puts its figures: printed, and appended to a file at once.

    `fail`: whether the part fails after its first figure, for tests.
    """

    def __init__(self, part: str, file: Path, fail: bool = False) -> None:
        self._part = part
        self._file = file
        self._fail = fail

    def add(self, table: str, row: str, column: str, value: float | str) -> None:
        """Write a figure down."""
        figure = Figure(self._part, table, row, column, value)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(figure)) + "\n")
        print(f"  {table} | {row} | {column}: {show(value)}", flush=True)
        if self._fail:
            raise RuntimeError("made to fail")


def read(file: Path) -> list[Figure]:
    """Return the figures in a file; a last line that was not finished is left out."""
    found = []
    for line in file.read_text().splitlines() if file.is_file() else ():
        try:
            found.append(Figure(**json.loads(line)))
        except json.JSONDecodeError:
            continue
    return found


def show(value: float | str) -> str:
    """Return a value for people."""
    if isinstance(value, str):
        return value
    if value != 0 and (abs(value) < 0.01 or abs(value) >= 1e7):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(about: dict[str, Any], figures: list[Figure], ends: dict[str, dict[str, Any]]) -> str:
    """Return all tables, and how each part ended."""
    lines = ["# contrail on a GPU", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += ["", "| part | ended | seconds |", "| --- | --- | ---: |"]
    for part, end in ends.items():
        told = str(end["ended"]).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {part} | {told} | {end['seconds']:.0f} |")
    for table in dict.fromkeys(figure.table for figure in figures):
        own = [figure for figure in figures if figure.table == table]
        columns = list(dict.fromkeys(figure.column for figure in own))
        cells = {(figure.row, figure.column): show(figure.value) for figure in own}
        lines += ["", f"## {table}", "", f"| | {' | '.join(columns)} |"]
        lines.append("| --- |" + " ---: |" * len(columns))
        for row in dict.fromkeys(figure.row for figure in own):
            values = [cells.get((row, column), "").replace("|", "\\|") for column in columns]
            lines.append(f"| {row} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"
