"""The figure of a study, EXPERIMENT.png: its matrices as heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.names import visible
from contrail.plugins.reports.figures import new_figure, save
from contrail.plugins.reports.study import cell_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1.5  # inches of a column
HEIGHT = 0.55  # of a row
MARGIN = 2.6  # for the labels of the rows
LONGEST = 26  # characters of a label


@contrail.hookimpl
def contrail_study(study: dict[str, Any], directory: str) -> None:
    """Draw the figure."""
    save(draw(study), Path(directory, study["experiment"]))


def draw(study: Mapping[str, Any]) -> Figure:
    """Return all matrices of a study below each other."""
    tables = study["tables"]
    heights = [HEIGHT * (len(table["rows"]) + 2) for table in tables]
    width = MARGIN + WIDTH * max(len(table["columns"]) for table in tables)
    figure = new_figure(width, sum(heights))
    axes = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, table in zip(axes, tables, strict=True):
        _heat_map(axis, table)
    return figure


def _heat_map(axis: Axes, table: Mapping[str, Any]) -> None:
    import numpy as np  # loading the plugin costs the command line nothing

    values = np.array(
        [
            [math.nan if cell is None or cell["mean"] is None else cell["mean"] for cell in cells]
            for cells in (row["cells"] for row in table["rows"])
        ]
    )
    least, most, colours = (-0.8, 0.8, "RdBu") if table["signed"] else (0.0, 1.0, "Blues")
    axis.imshow(values, vmin=least, vmax=most, cmap=colours, aspect="auto")
    axis.set_title(_plain(table["title"]), loc="left", fontsize=10)
    axis.set_xticks(range(len(table["columns"])), [_short(name) for name in table["columns"]])
    labels = [_short(row["label"]) for row in table["rows"]]
    axis.set_yticks(range(len(labels)), labels)
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)
    for y, row in enumerate(table["rows"]):
        for x, cell in enumerate(row["cells"]):
            text = cell_text(cell, table["signed"], between="\n")
            dark = abs(values[y, x]) > (0.5 if table["signed"] else 0.6)  # False for nan
            axis.text(
                x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )


def _short(label: str) -> str:
    text = _plain(label)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _plain(text: str) -> str:
    """Return a text that matplotlib does not take for a formula."""
    return visible(text).replace("$", r"\$")
