"""Tables on a terminal: at any width nothing is cut, and every column is there."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from contrail.fitted_tables import Column, fitted

ROWS = Column("", ["base model", "after 1: 门口环境", "é"], left=True)
COLUMNS = [
    Column("success on the door", ["0.50", "0.61 [0.40, 0.80]", "–"]),
    Column("门口环境", ["1", "2", "3"]),
    Column("a_very_long_name_without_blanks", ["+0.00", "-1.00", "+0.25"]),
    Column("two\nlines", ["1.5\nof 3", "2", "x"]),
]


@pytest.mark.parametrize("width", [20, 37, 50, 61, 79, 80, 120, 200])
def test_nothing_is_cut(width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=1000).print(fitted([ROWS], COLUMNS, width))
    text = out.getvalue()
    assert "…" not in text
    shown = text.split()
    for column in COLUMNS:
        for part in " ".join([column.heading, *map(str, column.cells)]).split():
            assert part in shown
    # Each table has all rows.
    assert text.count("after 1: 门口环境") == text.count("base model") >= 1
