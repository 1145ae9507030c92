"""Tables on a terminal that stay within it: their columns are divided among several, if need be."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_BLANK = "\N{NO-BREAK SPACE}"  # textwrap does not break there
GAP = 2  # columns of text between two columns of a table


@dataclass(frozen=True)
class Column:
    """A column: its heading, and a text for each row, of one line or several."""

    heading: str
    cells: Sequence[str | Text]
    left: bool = False
    """Whether it is aligned to the left."""

    @property
    def width(self) -> int:
        """The columns of text that it needs; a wide character takes two."""
        parts = self.heading.split("\n")
        lines = [line for cell in self.cells for line in str(cell).splitlines()]
        return max([1, *map(cell_len, [*parts, *lines])])

    def narrow(self) -> Column:
        """Return the same with the heading broken between words."""
        width = max(replace(self, heading="").width, *map(cell_len, self.heading.split()), 1)
        heading = textwrap.fill(self.heading, width, break_on_hyphens=False)
        return replace(self, heading=heading)


def fitted(
    labels: Sequence[Column],
    columns: Sequence[Column],
    width: int,
    styles: Sequence[str] = (),
) -> RenderableType:
    """Return tables that have all columns, none of them cut or broken.

    Args:
        labels: columns that every table begins with.
        columns: the others.
        width: of the terminal; a table is wider only if it has one column and this one is.
        styles: of the rows; by default none.
    """
    if sum(column.width + GAP for column in (*labels, *columns)) - GAP > width:
        labels, columns = ([item.narrow() for item in part] for part in (labels, columns))
    begun = sum(column.width + GAP for column in labels)
    parts: list[list[Column]] = [[]]
    for column in columns:
        used = begun + sum(item.width + GAP for item in parts[-1]) + column.width
        if parts[-1] and used > width:
            parts.append([])
        parts[-1].append(column)
    if len({column.width for column in columns}) == 1:
        # Equal shares read better than a full table and a rest.
        share = math.ceil(len(columns) / len(parts))
        parts = [[*columns[at : at + share]] for at in range(0, len(columns), share)]
    tables: list[RenderableType] = []
    for part in parts:
        if tables:
            tables.append("")
        tables.append(_table([*labels, *part], styles))
    return Group(*tables)


def _table(columns: Sequence[Column], styles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="underline")
    for column in columns:
        table.add_column(
            Text(column.heading),
            justify="left" if column.left else "right",
            width=column.width,
            no_wrap=True,
        )
    for number, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        cells = [cell if isinstance(cell, Text) else Text(cell) for cell in row]
        table.add_row(*cells, style=styles[number] if styles else None)
    return table


def filled(text: str, width: int) -> str:
    """Return a text on lines of at most `width`, none of which ends within brackets."""
    whole = re.sub(r"\[[^\[\]]*\]", lambda found: found.group().replace(" ", _BLANK), text)
    lines = textwrap.fill(whole, width, break_on_hyphens=False, break_long_words=False)
    return lines.replace(_BLANK, " ")
