"""The parts of a page's sections, as JSON: tables, matrices and charts.

A section is `section(id, title, block, ...)`; the page shows its blocks one below the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from contrail.plugins.reports.table import interval, number

Block = dict[str, Any]


def section(name: str, title: str, *blocks: Block | None) -> Block | None:
    """Return a section with a heading, or None if all its blocks are None."""
    shown = [block for block in blocks if block is not None]
    return {"id": name, "title": title, "blocks": shown} if shown else None


def text(*lines: str) -> Block | None:
    """Return paragraphs, or None if there is no line."""
    return {"type": "text", "lines": list(lines)} if lines else None


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = ""
) -> Block | None:
    """Return a table, or None if it has no row. The first cell of a row is its heading."""
    shown = [[str(cell) for cell in row] for row in rows]
    if not shown:
        return None
    return {
        "type": "table",
        "caption": caption,
        "columns": list(columns),
        "rows": shown,
        "note": note,
    }


def tables(caption: str, made: Iterable[Any], note: str = "") -> list[Block]:
    """Return the tables of a terminal report as blocks."""
    found = []
    for item in made:
        if isinstance(item, Table):
            cells = [[_plain(cell) for cell in column.cells] for column in item.columns]
            columns = [_plain(column.header) for column in item.columns]
            block = table(caption, columns, zip(*cells, strict=True), note)
            found += [block] if block else []
    return found


def _plain(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def matrix(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Block]]],
    *,
    scale: str,
    note: str = "",
    cells: str = "",
) -> Block:
    """Return a heat map.

    Args:
        caption: says what it is.
        columns: their names.
        rows: names, and a `cell` for each column.
        scale: "share" (0 to 1), "change" (-1 to 1) or "size" (0 to the largest).
        note: below it.
        cells: what a click on a cell does: "" (nothing), or "tasks".
    """
    return {
        "type": "matrix",
        "caption": caption,
        "columns": list(columns),
        "rows": [{"name": name, "cells": list(found)} for name, found in rows],
        "scale": scale,
        "note": note,
        "cells": cells,
    }


def cell(
    value: float | None, ends: Sequence[float] | None, form: str = ".2f", **more: Any
) -> Block:
    """Return a cell of a matrix: its value, what is shown, and the interval."""
    return {"value": value, "shown": number(value, form), "interval": interval(ends, form), **more}


def chart(kind: str, caption: str, series: Sequence[Block], **more: Any) -> Block | None:
    """Return a chart, or None if no series has a point.

    Args:
        kind: "lines", over a numeric axis, or "dots", a row for each of `categories`.
        caption: says what it is.
        series: `name`, and lists: `x` and `y`; of lines `low` and `high` of a band; of dots
            `category` in the place of `y`.
        more: `x` and `y`, the titles of the axes; `range`, of y, or of the axis of dots; `marks`,
            labelled positions on the x axis; `ticks`, names of positions on it; `categories`, of
            dots, and their `means`, each `[mean, low, high]` or None.
    """
    shown = [item for item in series if any(value is not None for value in item["x"])]
    if not shown:
        return None
    block: Block = {"type": "chart", "kind": kind, "caption": caption, "series": shown, **more}
    return block
