"""Success after each stage: panels in a grid, one for each environment and order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from contrail.names import visible_names
from contrail.plugins.reports.figures import literal, new_figure, wrapped
from contrail.plugins.reports.table import folded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can distinguish, without the yellow, which is hard
# to see on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", "-.", ":")
MOST_ORDERS = 6  # that are drawn
MOST_BANDS = 4  # strategies whose intervals are drawn; more would cover each other
COLUMNS = 3  # panels side by side
FEWEST_SEEDS = 3  # for an interval: that of two is wider than any share


def curves(comparison: dict[str, Any]) -> Figure:
    """Draw success on each environment after each stage: a line for each strategy, with the range
    of its interval if there are few."""
    comparison = visible_names(comparison)
    orders = comparison["orders"][:MOST_ORDERS]
    environments = comparison["environments"]
    summary = comparison["summary"]
    banded = len(summary) <= MOST_BANDS
    columns = min(COLUMNS, len(environments))
    rows = math.ceil(len(environments) / columns)
    width, height = 2.9 * columns + 2.2, 2.4 * rows * len(orders) + 1.3
    figure = new_figure(width, height)
    grid = figure.subplots(rows * len(orders), columns, squeeze=False, sharey=True)
    for i, order in enumerate(orders):
        for j in range(rows * columns):
            axes = grid[i * rows + j // columns][j % columns]
            if j >= len(environments):
                axes.set_visible(False)
                continue
            environment = environments[j]
            _own_stages(axes, comparison, i, environment)
            for at, (label, item) in enumerate(summary.items()):
                matrix = next((one for one in item["R"] if one["order"] == i), None)
                if matrix is not None:
                    _curve(axes, matrix, environment, len(order), at, label, banded)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlim(-0.15, len(order) + 0.15)
            names = ["base", *(folded(name, 12) for name in order)]
            slanted = len(names) > 4
            axes.set_xticks(
                range(len(names)),
                names,
                fontsize=7,
                rotation=40 if slanted else 0,
                ha="right" if slanted else "center",
                rotation_mode="anchor",
            )
            title = folded(environment, 28)
            if len(orders) > 1:
                title += f"\n{folded(' > '.join(order), 40)}"
            axes.set_title(title, fontsize=9)
            if j % columns == 0:
                axes.set_ylabel("success", fontsize=9)
            bare(axes, grid="y")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    more = len(comparison["orders"]) - len(orders)
    figure.suptitle(
        wrapped(f"{title_of(comparison)}: success after each stage", int(width * 9)), fontsize=11
    )
    seeds = max((len(one["seeds"]) for item in summary.values() for one in item["R"]), default=1)
    note = "grey: the stage that trains on the environment"
    if banded and seeds >= FEWEST_SEEDS:
        note += "; bands: 95% intervals over seeds"
    if more:
        note += f"; {more} more orders in compare.json"
    figure.supxlabel(wrapped(note, int(width * 14)), fontsize=7)
    return literal(figure)


def title_of(comparison: dict[str, Any]) -> str:
    """Return the title: the stream's `name`, or that of the comparison's directory."""
    return str(comparison.get("title") or comparison["name"])


def legend_name(label: str) -> str:
    """Return a label of a line; matplotlib leaves out one that is empty or begins with "_"."""
    name = folded(label, 30)
    return f"\u200b{name}" if not name or name.startswith("_") else name


def bare(axes: Axes, grid: str) -> None:
    """Leave the axes with little but a grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=8)
    if grid == "x":
        axes.locator_params(axis="x", nbins=6)
    axes.grid(axis=grid, color="0.88", lw=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _curve(
    axes: Axes,
    matrix: dict[str, Any],
    environment: str,
    stages: int,
    at: int,
    label: str,
    banded: bool,
) -> None:
    column = matrix["environments"].index(environment)
    # A strategy with other stages, as a mixture, takes as long as the stream in all.
    count = max(1, len(matrix["R"]) - 1)
    x = [row * stages / count for row in range(len(matrix["R"]))]
    y = [math.nan if row[column] is None else row[column] for row in matrix["R"]]
    colour = COLOURS[at % len(COLOURS)]
    axes.plot(
        x,
        y,
        LINES[at // len(COLOURS) % len(LINES)],
        color=colour,
        marker=MARKERS[at % len(MARKERS)],
        ms=4,
        lw=1.5,
        label=legend_name(label),
    )
    if banded and len(matrix["seeds"]) >= FEWEST_SEEDS:
        ends = [row[column] or (math.nan, math.nan) for row in matrix["interval"]]
        lows, highs = [max(0, low) for low, _ in ends], [min(1, high) for _, high in ends]
        axes.fill_between(x, lows, highs, color=colour, alpha=0.12, lw=0)


def _own_stages(axes: Axes, comparison: dict[str, Any], order: int, environment: str) -> None:
    """Shade where the stream's own order trains on an environment."""
    for item in comparison["summary"].values():
        for matrix in item["R"]:
            if matrix["order"] == order and len(matrix["stages"]) == len(
                comparison["orders"][order]
            ):
                for stage, names in enumerate(matrix["trained"]):
                    if names == [environment]:
                        axes.axvspan(stage, stage + 1, color="0.93", zorder=0)
                return
