"""The charts of a comparison's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contrail.plugins.html_report.blocks import Block, chart
from contrail.plugins.reports.comparison import fits, slope
from contrail.plugins.reports.comparison_names import HEADINGS, shown_metrics
from contrail.plugins.reports.table import interval

MOST_CHARTS = 8
"""Metrics with a chart of their own; the table has all."""
SHARES = ("average_score", "worst_environment", "turnover", "gained")
SMALL = 0.2
"""What a chart of changes shows at least on each side of 0: noise does not look like an effect."""
FIRST = ("average_score", "forgetting", "backward_transfer", "forward_transfer")
"""Metrics whose charts come first."""


def metric_charts(comparison: dict[str, Any]) -> list[Block]:
    """Return a chart per metric: the seeds of each strategy as dots, mean and interval."""
    shown = shown_metrics(comparison)
    names = sorted(shown, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    made = [
        dots(
            HEADINGS[name].capitalize(),
            HEADINGS[name],
            {
                label: item["metrics"][name]
                for label, item in comparison["summary"].items()
                if name in item["metrics"]
            },
            (0.0, 1.0) if name in SHARES else (0.0, 0.0) if name == "drift" else (-SMALL, SMALL),
        )
        for name in names[:MOST_CHARTS]
    ]
    return [block for block in made if block]


def success_charts(comparison: dict[str, Any]) -> list[Block]:
    """Return a chart per environment: success at the end, of each seed."""
    made = [
        dots(
            f"Success on {name} at the end",
            "success",
            {label: item["success"][name] for label, item in comparison["summary"].items()},
            (0.0, 1.0),
        )
        for name in comparison["environments"]
    ]
    return [block for block in made if block]


def dots(
    caption: str,
    axis: str,
    values: Mapping[str, Mapping[str, Any] | None],
    ends: tuple[float, float] = (-SMALL, SMALL),
) -> Block | None:
    """Return a chart with a row per label: a dot per seed, the mean and its interval.

    Args:
        caption: says what it is.
        axis: the title of the axis.
        values: estimates by label.
        ends: what the axis shows at least; all means and dots are on it, but of an interval, which
            two seeds may make very wide, no more than from -1 to 1.
    """
    labels = list(values)
    points = [
        (place, value)
        for place, label in enumerate(labels)
        for value in (values[label] or {}).get("values", ())
        if value is not None
    ]
    means: list[list[float | None] | None] = []
    for label in labels:
        found = values[label]
        if found is None or found["mean"] is None:
            means.append(None)
        else:
            means.append([found["mean"], *(found["interval"] or (None, None))])
    known = [value for item in means for value in item or () if value is not None]
    inside = [max(-1.0, min(1.0, value)) for value in known] + [value for _, value in points]
    return chart(
        "dots",
        caption,
        [{"name": "a seed", "x": [v for _, v in points], "category": [p for p, _ in points]}],
        x=axis,
        categories=labels,
        means=means,
        range=[min(*ends, *inside), max(*ends, *inside)],
        note="Dots are seeds; lines are means with 95% intervals over seeds.",
    )


def drift_charts(comparison: dict[str, Any]) -> list[Block]:
    """Return forgetting over each kind of drift, a dot per run, with the line through them."""
    made = []
    for kind, fit in fits(comparison).items():
        points = comparison["forgetting_over_drift"]["points"]
        series: list[Block] = []
        for label in comparison["strategies"]:
            own = [point for point in points if point["strategy"] == label]
            x, y = ([point[key] for point in own] for key in (kind, "forgetting"))
            series.append({"name": label, "x": x, "y": y, "points": True})
        ends = [0.0, max(point[kind] for point in points)]
        line = [fit["intercept"] + fit["slope"] * x for x in ends]
        series.append({"name": "fit", "x": ends, "y": line, "line": True})
        note = slope(fit).capitalize()
        if fit["r2"] is not None:
            note += f", R² {fit['r2']:.2f} {interval(fit['r2_interval'])}".rstrip()
        made.append(
            chart(
                "lines",
                f"Forgetting over drift: {fit['x']}",
                series,
                x="drift, nats per decision",
                y="forgetting",
                note=f"{note}. A dot is a run.",
            )
        )
    return [block for block in made if block]


def curves(comparison: dict[str, Any]) -> list[Block]:
    """Return success after each stage: a chart per order and environment, a line per strategy."""
    made = []
    for place, order in enumerate(comparison["orders"]):
        for name in comparison["environments"]:
            series = []
            for label, item in comparison["summary"].items():
                found = next((one for one in item["R"] if one["order"] == place), None)
                if found is None:
                    continue
                column = found["environments"].index(name)
                # A strategy with other stages, as a mixture, takes as long as the stream in all.
                count = max(1, len(found["R"]) - 1)
                ends = [row[column] or (None, None) for row in found["interval"]]
                band = {"low": [low for low, _ in ends], "high": [high for _, high in ends]}
                series.append(
                    {
                        "name": label,
                        "x": [row * len(order) / count for row in range(len(found["R"]))],
                        "y": [row[column] for row in found["R"]],
                        # With many strategies the bands would hide one another.
                        **(band if len(comparison["strategies"]) <= 4 else {}),
                    }
                )
            caption = f"Success on {name} after each stage"
            if len(comparison["orders"]) > 1:
                caption += f", order {' > '.join(order)}"
            made.append(
                chart(
                    "lines",
                    caption,
                    series,
                    x="stage",
                    y="success",
                    range=[0, 1],
                    ticks=["base", *order],
                )
            )
    return [block for block in made if block][: 2 * MOST_CHARTS]
