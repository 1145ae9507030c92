"""R as a heat map: R.png; learning curves: curves.png; success in training: training.png."""

from __future__ import annotations

import io
import itertools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.names import visible_names
from contrail.plugins.reports.table import (
    Row,
    folded,
    interval,
    number,
    shown_rows,
    trained_on,
    write,
)
from contrail.reporting import report_options
from contrail.tables import OVER_ALL, curve_rows, mean_and_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_WIDTH, CELL_HEIGHT = 1.15, 0.68  # inches
LINES = ("-", "--", ":")
ROW_NAME, COLUMN_NAME = 20, 13  # characters on one line of a name


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Draw R; where environments were evaluated within stages, curves; and training."""
    save(heat_map(result), Path(directory, "R"))
    if curve_rows(result):
        save(curves(result), Path(directory, "curves"))
    if any(result.get("training", ())):
        save(training(result), Path(directory, "training"))


def save(figure: Figure, path: Path) -> None:
    """Write a figure in each of the report's formats, under a path without its ending."""
    for form in report_options().formats:
        image = io.BytesIO()
        # A date would make two reports of one result differ.
        about = {"CreationDate": None} if form == "pdf" else {"Date": None} if form == "svg" else {}
        figure.savefig(image, format=form, dpi=150, metadata=about)
        write(path.with_name(f"{path.name}.{form}"), image.getvalue())


def png(result: dict[str, Any]) -> bytes:
    """Return the heat map as a PNG file."""
    image = io.BytesIO()
    heat_map(result).savefig(image, format="png", dpi=150)
    return image.getvalue()


def heat_map(result: dict[str, Any]) -> Figure:
    """Draw R [T+1, N] as colours from 0 to 1, each cell with its number and interval, between the
    rows of the players without a model.

    The cells of the environments a stage trained on are outlined; undefined cells are hatched. The
    figure has a canvas of its own and is unknown to pyplot: it needs no display and no closing.
    """
    # Imported here, so that loading the plugin costs the command line nothing.
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    result = visible_names(result)
    shown = shown_rows(result)
    columns = [folded(name, COLUMN_NAME) for name in result["environments"]]
    rows = [folded(_name(result, row), ROW_NAME) for row in shown]
    beside = 1.6 + 0.085 * max(len(line) for name in rows for line in name.splitlines())
    below = 1.4 + 0.17 * max(len(name.splitlines()) for name in columns)
    size = (max(4.6, CELL_WIDTH * len(columns) + beside), CELL_HEIGHT * len(rows) + below)
    figure = new_figure(*size)
    axes = figure.add_subplot()
    colours = colormaps["YlGnBu"]  # sequential, and told apart by the colour-blind
    scores = [[float("nan") if s is None else s for s in row.scores] for row in shown]
    image = axes.imshow(scores, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(shown):
        for j, score in enumerate(row.scores):
            ink = "black" if score is None else _ink(colours(score))
            if score is None:
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc="0.93", ec="0.8", hatch="//"))
            ends = interval(row.intervals[j])
            axes.text(j, i - 0.1 * bool(ends), number(score), ha="center", va="center", color=ink)
            axes.text(j, i + 0.24, ends, ha="center", va="center", color=ink, fontsize=7)
            if row.stage is not None and trained_on(result, row.stage, j):
                axes.add_patch(
                    Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, edgecolor=ink, lw=2)
                )
    axes.set_xticks(range(len(columns)), columns, fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.set_xticks([j + 0.5 for j in range(len(columns) - 1)], minor=True)
    axes.set_yticks([i + 0.5 for i in range(len(rows) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    for i, (row, next_row) in enumerate(itertools.pairwise(shown)):
        if (row.stage is None) != (next_row.stage is None):
            axes.axhline(i + 0.5, color="white", linewidth=9)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("evaluated on")
    axes.set_ylabel("trained up to")
    about = f"{result['model']}, {result['strategy']}, {result['adapter']}, seed {result['seed']}"
    characters = int(size[0] * 11)
    figure.suptitle(
        wrapped(f"{title_of(result)}: success after each stage", characters)
        + "\n"
        + wrapped(about, characters),
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, label="success")
    note = "outlined: trained on in this stage; in brackets: 95% intervals over test tasks"
    if len(shown) > len(result["R"]):
        note += "\nset apart: without a model"
    figure.supxlabel(note, fontsize=7)
    return literal(figure)


def curves(result: dict[str, Any]) -> Figure:
    """Draw success on each environment over the updates of the whole stream.

    An environment's curve is thick while a stage is its own.
    """
    result = visible_names(result)
    rows = curve_rows(result)
    figure = new_figure(7.6, 3.8)
    axes = figure.add_subplot()
    starts = {row["stage"]: row["updates"] for row in reversed(rows)}
    for at, environment in enumerate(result["environments"]):
        for stage in starts:
            points = [r for r in rows if (r["stage"], r["environment"]) == (stage, environment)]
            own = environment in result["own"][stage - 1]
            axes.plot(
                [row["updates"] for row in points],
                [float("nan") if row["success"] is None else row["success"] for row in points],
                LINES[at // 10 % len(LINES)],
                color=f"C{at % 10}",
                lw=2.4 if own else 1.0,
                marker=".",
                ms=4,
                label=f"\u200b{folded(environment, 30)}" if stage == min(starts) else None,
            )
    if len(result["environments"]) > 1:
        for key, style in (("mean", "-"), ("least", ":")):
            for stage in starts:
                moments = [row for row in mean_and_least(rows, "success") if row["stage"] == stage]
                axes.plot(
                    [row["updates"] for row in moments],
                    [float("nan") if row[key] is None else row[key] for row in moments],
                    style,
                    color="black",
                    lw=1.0,
                    label=f"\u200b{OVER_ALL[key]}" if stage == min(starts) else None,
                )
    _course(axes, result, starts, "success")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(wrapped(f"{title_of(result)}: success over the stream", 76), fontsize=10)
    figure.supxlabel("thick: in a stage of its own; black: over all environments", fontsize=7)
    return literal(figure)


def training(result: dict[str, Any]) -> Figure:
    """Draw the success of the episodes that were learnt from, over the updates of the whole stream.

    Dots are updates, lines means of the last few updates.
    """
    result = visible_names(result)
    figure = new_figure(7.6, 3.8)
    axes = figure.add_subplot()
    starts, made = [], 0
    for stage in result["no_signal"]:
        starts.append(made)
        made += stage["made"]
    window = max(3, made // (12 * max(1, len(starts))))
    named: set[str] = set()
    for at, environment in enumerate(result["environments"]):
        for start, stage in zip(starts, result["training"], strict=True):
            points = stage.get(environment, [])
            if not points:
                continue
            x = [start + update for update, _ in points]
            y = [success for _, success in points]
            recent = [y[max(0, n - window + 1) : n + 1] for n in range(len(y))]
            label = None if environment in named else f"\u200b{folded(environment, 30)}"
            named.add(environment)
            colour, line = f"C{at % 10}", LINES[at // 10 % len(LINES)]
            axes.plot(x, y, ".", color=colour, ms=3, alpha=0.45)
            means = [sum(values) / len(values) for values in recent]
            axes.plot(x, means, line, color=colour, lw=1.8, label=label)
    _course(axes, result, dict(enumerate(starts, start=1)), "success in training")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(wrapped(f"{title_of(result)}: success in training", 76), fontsize=10)
    figure.supxlabel(f"dots: updates; lines: means of the last {window} updates", fontsize=7)
    return literal(figure)


def _course(axes: Axes, result: dict[str, Any], starts: dict[int, int], what: str) -> None:
    """Draw the borders and names of the stages, and the axes of a share over updates."""
    for stage, start in starts.items():
        axes.axvline(start, color="0.85", lw=0.8, zorder=0)
        name = folded(f"{stage}: {result['stages'][stage - 1]}", 18)
        axes.text(start, 1.04, f" {name}", fontsize=7, va="bottom")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("updates", fontsize=9)
    axes.set_ylabel(what, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def title_of(result: dict[str, Any]) -> str:
    """Return the title: the stream's `name`, or that of the run's directory."""
    return str(result.get("title") or result["name"])


def new_figure(width: float, height: float) -> Figure:
    """Return a figure with a canvas of its own: it needs no display and no closing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def literal(figure: Figure) -> Figure:
    """Return the figure with all its texts as they are written: "$" begins no formula in a name."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_usetex(False)
    return figure


def wrapped(text: str, width: int) -> str:
    """Return a text on lines of at most `width` characters."""
    return textwrap.fill(text, width, max_lines=4, placeholder="…")


def _name(result: dict[str, Any], row: Row) -> str:
    return f"{row.stage}: {result['stages'][row.stage - 1]}" if row.stage else row.name


def _ink(colour: tuple[float, float, float, float]) -> str:
    """Return black or white, whichever contrasts more (relative luminance and contrast of WCAG
    2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"
