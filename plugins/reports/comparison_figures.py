"""A comparison in pictures: compare.png, compare.curves.png, with several orders
compare.orders.png, with drift compare.drift.png, and with
learning curves compare.tradeoff.png."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.names import visible_names
from contrail.plugins.reports.comparison import fits, heading, shown_tradeoffs
from contrail.plugins.reports.comparison_names import HEADINGS, shown_metrics
from contrail.plugins.reports.figures import literal, new_figure
from contrail.plugins.reports.table import folded, interval, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind can distinguish, without the yellow, which is hard
# to see on paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
MARKERS = "osD^vP*X<>"
LINES = ("-", "--", "-.", ":")
MOST_ORDERS = 6  # rows of curves
MOST_STAGES = 4  # panels of trade-offs
PANELS = (
    "average_score",
    "forgetting",
    "drop_from_best",
    "backward_transfer",
    "forward_transfer",
    "delta_held_out",
)


@contrail.hookimpl
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Draw the figures."""
    figures = {"compare.png": bars(comparison), "compare.curves.png": curves(comparison)}
    if len(comparison["orders"]) > 1:
        figures["compare.orders.png"] = orders(comparison)
    if fits(comparison):
        figures["compare.drift.png"] = drift(comparison)
    if shown_tradeoffs(comparison):
        figures["compare.tradeoff.png"] = tradeoff(comparison)
    for name, figure in figures.items():
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=150)
        write(Path(directory, name), image.getvalue())


def bars(comparison: dict[str, Any]) -> Figure:
    """Return a panel for each metric: the mean of each strategy with its interval, and its
    seeds."""
    comparison = visible_names(comparison)
    metrics = [name for name in PANELS if name in shown_metrics(comparison)]
    summary = comparison["summary"]
    labels = [folded(label, 22) for label in summary]
    lines = sum(len(label.splitlines()) for label in labels)
    columns = min(2, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = new_figure(
        3.6 * columns + 1.6, rows * (1.1 + 0.3 * max(len(labels), lines * 0.6)) + 0.8
    )
    for place, name in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = [item["metrics"][name] for item in summary.values()]
        ends = [end for value in values for end in value["interval"] or ()]
        for at, value in enumerate(values):
            colour = COLOURS[at % len(COLOURS)]
            if value["mean"] is None:
                axes.text(
                    0.02,
                    at,
                    "undefined",
                    transform=axes.get_yaxis_transform(),
                    va="center",
                    fontsize=8,
                    color="0.45",
                )
                continue
            axes.barh(at, value["mean"], height=0.62, color=colour, alpha=0.55)
            seeds = [item for item in value["values"] if item is not None]
            # Within the bar, one under the other: equal seeds stay visible.
            spread = [
                at + 0.2 * (k - (len(seeds) - 1) / 2) / max(1, len(seeds) - 1) * 2
                for k in range(len(seeds))
            ]
            axes.plot(seeds, spread, "o", ms=3.5, mfc="white", mec=colour, mew=1, zorder=3)
            if value["interval"]:
                low, high = value["interval"]
                axes.plot([low, high], [at, at], color="black", lw=1.3, zorder=2)
                axes.plot([low, high], [at, at], "|", color="black", ms=8, zorder=2)
        _limit(axes, values, ends)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(
            range(len(labels)), labels if place % columns == 0 else [""] * len(labels), fontsize=9
        )
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_title(HEADINGS[name], fontsize=10)
        _bare(axes, grid="x")
    figure.suptitle(folded(heading(comparison), 90), fontsize=10)
    several = len(comparison["seeds"]) > 1
    figure.supxlabel(
        "bars: means over seeds; lines: 95% intervals over seeds; dots: seeds"
        if several
        else "one seed",
        fontsize=7,
    )
    return literal(figure)


def curves(comparison: dict[str, Any]) -> Figure:
    """Success on each environment after each stage: a column for each environment, a row for each
    order, a line for each strategy with the range of its interval."""
    comparison = visible_names(comparison)
    shown = comparison["orders"][:MOST_ORDERS]
    environments = comparison["environments"]
    figure = new_figure(2.6 * len(environments) + 1.6, 2.1 * len(shown) + 1.2)
    grid = figure.subplots(len(shown), len(environments), squeeze=False, sharey=True)
    for i, order in enumerate(shown):
        for j, environment in enumerate(environments):
            axes = grid[i][j]
            _own_stages(axes, comparison, i, environment)
            for at, (label, item) in enumerate(comparison["summary"].items()):
                matrix = next((one for one in item["R"] if one["order"] == i), None)
                if matrix is not None:
                    _curve(axes, matrix, environment, len(order), at, label)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlim(-0.15, len(order) + 0.15)
            names = ["base", *(folded(name, 12) for name in order)]
            axes.set_xticks(
                range(len(names)), names, fontsize=7, rotation=0 if len(names) < 5 else 60
            )
            if i == 0:
                axes.set_title(folded(environment, 24), fontsize=10)
            if j == 0:
                axes.set_ylabel("success", fontsize=9)
            _bare(axes, grid="y")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    more = len(comparison["orders"]) - len(shown)
    figure.suptitle(
        "Success after each stage (shaded: the stage that trains on it)"
        + (f"; {more} more orders in compare.json" if more else ""),
        fontsize=10,
    )
    return literal(figure)


def orders(comparison: dict[str, Any]) -> Figure:
    """Draw the effect of the order of the stages: the average score of each order, side by side."""
    comparison = visible_names(comparison)
    summary = comparison["summary"]
    names = [" > ".join(order) for order in comparison["orders"]]
    figure = new_figure(6.4, 0.42 * len(names) + 1.9)
    axes = figure.add_subplot()
    for at, (label, item) in enumerate(summary.items()):
        scores = item["metrics"]["average_score"]["orders"]
        known = [(score, place) for place, score in enumerate(scores) if score is not None]
        offset = 0.5 * ((at + 0.5) / len(summary) - 0.5)
        if known:
            axes.plot(
                [score for score, _ in known],
                [place + offset for _, place in known],
                MARKERS[at % len(MARKERS)],
                color=COLOURS[at % len(COLOURS)],
                label=_legend_name(label),
            )
    axes.set_yticks(range(len(names)), [folded(name, 40) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("average score (mean over seeds)", fontsize=9)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle("What the order of the stages does", fontsize=10)
    _bare(axes, grid="x")
    return literal(figure)


def drift(comparison: dict[str, Any]) -> Figure:
    """Draw forgetting over each kind of drift, a point for each run, with the line through them."""
    comparison = visible_names(comparison)
    found = comparison["forgetting_over_drift"]
    lines = fits(comparison)
    figure = new_figure(4.3 * len(lines) + 2.4, 4.2)
    grid = figure.subplots(1, len(lines), squeeze=False, sharey=True)[0]
    for axes, (kind, fit) in zip(grid, lines.items(), strict=True):
        for at, label in enumerate(comparison["strategies"]):
            own = [point for point in found["points"] if point["strategy"] == label]
            if own:
                axes.plot(
                    [point[kind] for point in own],
                    [point["forgetting"] for point in own],
                    MARKERS[at % len(MARKERS)],
                    color=COLOURS[at % len(COLOURS)],
                    ms=6,
                    label=_legend_name(label),
                    zorder=3,
                )
        ends = [0.0, max(point[kind] for point in found["points"])]
        axes.plot(ends, [fit["intercept"] + fit["slope"] * x for x in ends], color="0.3", lw=1.2)
        axes.axhline(0, color="black", lw=0.6)
        axes.set_xlabel(textwrap.fill(f"{fit['x']}, nats per decision", 48), fontsize=9)
        said = f"slope {fit['slope']:+.3g} {interval(fit['slope_interval'], '+.3g')}"
        if fit["r2"] is not None:
            said += f"\nR² {fit['r2']:.2f} {interval(fit['r2_interval'])}".rstrip()
        axes.set_title(said, fontsize=9)
        _bare(axes, grid="y")
    grid[0].set_ylabel("forgetting", fontsize=9)
    figure.suptitle(f"Forgetting over drift, {len(found['points'])} runs", fontsize=10)
    note = (
        "dots: runs; line: least squares; R²: of the variance of forgetting among the runs; "
        "in brackets: 95% intervals, runs taken as independent"
    )
    if found["left_out"]:
        note += "\n" + folded_line(f"without forgetting or drift: {', '.join(found['left_out'])}")
    figure.supxlabel(note, fontsize=7)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    return literal(figure)


def tradeoff(comparison: dict[str, Any]) -> Figure:
    """Draw success on earlier environments over success on the stage's own, as training goes on: a
    panel for each stage, a line for each strategy, and the level at which they are compared."""
    comparison = visible_names(comparison)
    stages = shown_tradeoffs(comparison)
    figure = new_figure(4.3 * len(stages[:MOST_STAGES]) + 2.4, 4.2)
    grid = figure.subplots(1, len(stages[:MOST_STAGES]), squeeze=False, sharey=True)[0]
    for axes, (name, item) in zip(grid, stages, strict=False):
        for at, label in enumerate(comparison["strategies"]):
            if label not in item["curves"]:
                continue
            _, new, old = zip(*item["curves"][label], strict=True)
            axes.plot(
                new,
                old,
                LINES[at % len(LINES)],
                color=COLOURS[at % len(COLOURS)],
                marker=MARKERS[at % len(MARKERS)],
                ms=5,
                lw=1.5,
                label=_legend_name(label),
            )
            axes.plot(new[0], old[0], "o", ms=10, mfc="none", mec="0.3", zorder=4)
        axes.axvline(item["level"], color="0.3", lw=0.8, ls=":")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(folded(name, 40), fontsize=10)
        axes.set_xlabel("success on the stage's own environment", fontsize=9)
        _bare(axes, grid="both")
    grid[0].set_ylabel("success on earlier environments (mean)", fontsize=9)
    figure.suptitle("What a stage costs, over what it teaches", fontsize=10)
    more = len(stages) - len(grid)
    figure.supxlabel(
        "points: evaluations, means over seeds; circle: the start of the stage; dotted: the level "
        "at which forgetting is compared"
        + (f"; {more} more stages in compare.json" if more else ""),
        fontsize=7,
    )
    handles = {
        text: handle
        for axes in grid
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=8
    )
    return literal(figure)


def folded_line(text: str) -> str:
    """Return a long text on lines that fit below a figure."""
    return textwrap.fill(text, 100, max_lines=3, placeholder="…")


def _legend_name(label: str) -> str:
    """Return a label of a line; matplotlib leaves out one that is empty or begins with "_"."""
    name = folded(label, 40)
    return f"\u200b{name}" if not name or name.startswith("_") else name


def _curve(
    axes: Axes, matrix: dict[str, Any], environment: str, stages: int, at: int, label: str
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
        LINES[at % len(LINES)],
        color=colour,
        marker=MARKERS[at % len(MARKERS)],
        ms=4,
        lw=1.5,
        label=_legend_name(label),
    )
    ends = [row[column] or (math.nan, math.nan) for row in matrix["interval"]]
    axes.fill_between(
        x,
        [max(0, low) for low, _ in ends],
        [min(1, high) for _, high in ends],
        color=colour,
        alpha=0.12,
        lw=0,
    )


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


def _limit(axes: Axes, values: Sequence[dict[str, Any]], ends: Sequence[float]) -> None:
    """Show all means; an interval may leave the picture, as two seeds' do, but not squeeze it."""
    points = [item for value in values for item in value["values"] if item is not None]
    inside = [max(-1.05, min(1.05, end)) for end in ends]
    low, high = min([0, *points, *inside]), max([0, *points, *inside])
    margin = 0.05 * max(high - low, 0.1)
    axes.set_xlim(low - margin * (low < 0), high + margin)


def _bare(axes: Axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, labelsize=8)
    if grid == "x":
        axes.locator_params(axis="x", nbins=6)
    axes.grid(axis=grid, color="0.88", lw=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
