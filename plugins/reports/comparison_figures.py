"""A comparison in pictures: compare.png, compare.curves.png, with several orders
compare.orders.png, with drift compare.drift.png, and with
learning curves compare.tradeoff.png."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.names import visible_names
from contrail.plugins.reports.comparison import fits, heading, shown_tradeoffs, slope
from contrail.plugins.reports.comparison_curves import (
    COLOURS,
    FEWEST_SEEDS,
    LINES,
    MARKERS,
    bare,
    curves,
    legend_name,
    title_of,
)
from contrail.plugins.reports.comparison_names import HEADINGS, NONE, shown_metrics
from contrail.plugins.reports.figures import literal, new_figure, save, wrapped
from contrail.plugins.reports.table import folded, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STAGES = 4  # panels of trade-offs
SHARES = ("average_score",)  # metrics that are never below 0
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
    figures = {"compare": bars(comparison), "compare.curves": curves(comparison)}
    if len(comparison["orders"]) > 1:
        figures["compare.orders"] = orders(comparison)
    if fits(comparison):
        figures["compare.drift"] = drift(comparison)
    if shown_tradeoffs(comparison):
        figures["compare.tradeoff"] = tradeoff(comparison)
    for name, figure in figures.items():
        save(figure, Path(directory, name))


def bars(comparison: dict[str, Any]) -> Figure:
    """Return a panel for each metric: the mean of each strategy with its interval, and its
    seeds."""
    comparison = visible_names(comparison)
    summary = comparison["summary"]
    metrics = [name for name in PANELS if name in shown_metrics(comparison)]
    # A metric that one strategy of several has compares nothing.
    several = [name for name in metrics if _defined(comparison, name) > 1]
    metrics = several or metrics
    labels = [folded(label, 22) for label in summary]
    lines = sum(len(label.splitlines()) for label in labels)
    columns = min(3 if len(metrics) > 4 else 2, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    width = 3.2 * columns + 1.6
    figure = new_figure(width, rows * (0.9 + 0.24 * max(len(labels), lines * 0.6)) + 0.9)
    for place, name in enumerate(metrics):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = [item["metrics"][name] for item in summary.values()]
        shown = [_interval(name, value) for value in values]
        ends = [end for interval in shown for end in interval or ()]
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
            if (ends_of := shown[at]) is not None:
                low, high = ends_of
                axes.plot([low, high], [at, at], color="black", lw=1.3, zorder=2)
                axes.plot([low, high], [at, at], "|", color="black", ms=8, zorder=2)
        _limit(axes, values, ends)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_yticks(
            range(len(labels)), labels if place % columns == 0 else [""] * len(labels), fontsize=9
        )
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_title(HEADINGS[name], fontsize=10)
        bare(axes, grid="x")
    figure.suptitle(wrapped(heading(comparison), int(width * 10)), fontsize=10)
    count = len(comparison["seeds"])
    note = "one seed" if count == 1 else "bars: means over seeds; dots: seeds"
    if count >= FEWEST_SEEDS:
        note += "; lines: 95% intervals over seeds"
    elif count > 1:
        note += f"; {count} seeds are too few for an interval that says anything"
    figure.supxlabel(wrapped(note, int(width * 14)), fontsize=7)
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
                label=legend_name(label),
            )
    axes.set_yticks(range(len(names)), [folded(name, 40) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("average score (mean over seeds)", fontsize=9)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    said = f"{title_of(comparison)}: what the order of the stages does"
    figure.suptitle(wrapped(said, 66), fontsize=10)
    bare(axes, grid="x")
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
                    label=legend_name(label),
                    zorder=3,
                )
        ends = [0.0, max(point[kind] for point in found["points"])]
        axes.plot(ends, [fit["intercept"] + fit["slope"] * x for x in ends], color="0.3", lw=1.2)
        axes.axhline(0, color="black", lw=0.6)
        axes.set_xlabel(textwrap.fill(f"{fit['x']}, nats per decision", 48), fontsize=9)
        said = slope(fit)
        if fit["r2"] is not None:
            said += f"\nR² {fit['r2']:.2f} {interval(fit['r2_interval'])}".rstrip()
        axes.set_title(said, fontsize=9)
        bare(axes, grid="y")
    grid[0].set_ylabel("forgetting", fontsize=9)
    title = f"{title_of(comparison)}: forgetting over drift, {len(found['points'])} runs"
    figure.suptitle(wrapped(title, 70 if len(lines) > 1 else 45), fontsize=10)
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
    count = len(stages[:MOST_STAGES])
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_figure(3.9 * columns + 2.4, 3.9 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    grid = [*panels.flat][:count]
    for axes in [*panels.flat][count:]:
        axes.set_visible(False)
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
                label=legend_name(label),
            )
            axes.plot(new[0], old[0], "o", ms=10, mfc="none", mec="0.3", zorder=4)
        axes.axvline(item["level"], color="0.3", lw=0.8, ls=":")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(folded(name, 40), fontsize=10)
        axes.set_xlabel("success on the stage's own environment", fontsize=9)
        bare(axes, grid="both")
    for axes in grid[::columns]:
        axes.set_ylabel("success on earlier environments (mean)", fontsize=9)
    title = f"{title_of(comparison)}: what a stage costs, over what it teaches"
    figure.suptitle(wrapped(title, 55 * columns), fontsize=10)
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


def _defined(comparison: dict[str, Any], metric: str) -> int:
    """Return the number of strategies for which a metric is defined."""
    values = [item["metrics"].get(metric, NONE) for item in comparison["summary"].values()]
    return sum(value["mean"] is not None for value in values)


def _interval(metric: str, value: dict[str, Any]) -> tuple[float, float] | None:
    """Return an interval as it is drawn: within the metric's bounds, and only if it says something.

    Comparisons by earlier versions have wider ones.
    """
    seeds = [item for item in value["values"] if item is not None]
    if value["interval"] is None or len(seeds) < FEWEST_SEEDS:
        return None
    least = 0.0 if metric in SHARES else -1.0
    low, high = value["interval"]
    return max(least, low), min(1.0, high)


def _limit(axes: Axes, values: Sequence[dict[str, Any]], ends: Sequence[float]) -> None:
    """Show all means and intervals."""
    points = [item for value in values for item in value["values"] if item is not None]
    low, high = min([0, *points, *ends]), max([0, *points, *ends])
    margin = 0.05 * max(high - low, 0.1)
    axes.set_xlim(low - margin * (low < 0), high + margin)
