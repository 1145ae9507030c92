"""A comparison on the terminal: metrics, differences, success, mean R, and costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

import contrail
from contrail.fitted_tables import Column, filled, fitted
from contrail.names import visible, visible_names
from contrail.plugins.reports.comparison_names import (
    HEADINGS,
    form_of,
    shown_budget,
    shown_metrics,
)
from contrail.plugins.reports.comparison_short import answer
from contrail.plugins.reports.comparison_short import sections as in_brief
from contrail.plugins.reports.console import LABEL, evaluated, matrix_tables
from contrail.plugins.reports.table import UNDEFINED, estimate, folded, interval, number
from contrail.plugins.reports.worst import above_average
from contrail.reporting import report_options

MAIN = ("average_score", "backward_transfer", "forgetting", "forward_transfer")
"""Metrics whose absence is noted if they are undefined for all strategies."""

CELL = 14  # the width of "[-0.51, +0.73]"
FEWEST_SEEDS = 6  # 2 / 2^6 < 0.05
MOST_PAIRS = 10  # of the table of pairs; with more, those with the baseline
PAIRED = ("average_score", "backward_transfer")
"""Metrics by which pairs of strategies are compared."""


@contrail.hookimpl(trylast=True)  # the list of files is complete once the others have written
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Print the comparison as tables."""
    comparison = visible_names(comparison)
    console = Console(highlight=False)
    console.print(Text(heading(comparison), style="bold"))
    if said := answer(comparison):
        console.print(Text(filled(said, console.width)))
    console.print()
    full = report_options().full
    for title, table in (_sections if full else in_brief)(comparison, console.width):
        if title:
            console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    for line in notes(comparison, full):
        console.print(Text(filled(line, console.width), style="dim"))
    if not full:
        more = "All metrics, pairs, how it was played, R by strategy: contrail report --full."
        console.print(Text(more, style="dim"))
    console.print(Text(f"Everything lies in {visible(directory)}"), soft_wrap=True)
    names = [path.name for path in Path(directory).glob("compare.*")]
    names += [path.name for path in Path(directory).glob("report.html")]
    files = sorted(names)
    console.print(Text("  " + ", ".join(files)))


def heading(comparison: dict[str, Any]) -> str:
    """Return a line that says what is compared."""
    counts = [
        (len(comparison["strategies"]), "strategy", "strategies"),
        (len(comparison["orders"]), "order", "orders"),
        (len(comparison["seeds"]), "seed", "seeds"),
    ]
    text = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts)
    title = comparison.get("title") or comparison["name"]
    return f"{title}: {text} ({comparison['model']})"


def pairs(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pairs of strategies to show: all; if these are many, those with the baseline."""
    found = comparison["pairs"]
    if len(found) <= MOST_PAIRS:
        return list(found)
    base = comparison["baseline"]
    return [pair for pair in found if base in (pair["first"], pair["second"])]


def edited_line(name: str) -> str:
    """Return a warning that a file of code was edited between or within runs."""
    return f"{name} was edited between these runs, or within one: differences may come from that."


def notes(comparison: dict[str, Any], full: bool = True) -> list[str]:
    """Return notes on how to read the tables."""
    seeds = len(comparison["seeds"])
    said = [
        f"In brackets: 95% intervals over {seeds} training seeds, for these test tasks; "
        "compare.json has intervals over other tasks too (interval_tasks)."
        if seeds > 1
        else "One seed: an interval over seeds needs two."
    ]
    if 1 < seeds < FEWEST_SEEDS and len(comparison["strategies"]) > 1:
        said.append(
            f"{seeds} seeds are too few to claim a difference between strategies: with fewer than "
            f"{FEWEST_SEEDS} the permutation test cannot give p < 0.05."
        )
    if unfinished := comparison.get("unfinished"):
        ended = len(comparison["rows"])
        said.insert(
            0,
            f"Interrupted: {ended} of {ended + len(unfinished)} runs have ended, and this is the "
            "report of these. The command that began the comparison goes on with it.",
        )
    said[:0] = [edited_line(name) for name in comparison.get("edited", ())]
    said.append(evaluated(comparison["evaluate"]))
    for label, item in comparison["summary"].items() if full else ():
        means = {name: found["mean"] for name, found in item["metrics"].items()}
        said += filter(None, [above_average(means, f" of {label}")])
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, labels in comparison["undefined"].items() if full else ():
        if name not in shown_metrics(comparison) and name not in MAIN:
            continue
        for reason in dict.fromkeys(labels.values()):
            having = tuple(label for label in labels if labels[label] == reason)
            reasons.setdefault((reason, having), []).append(HEADINGS[name])
    for (reason, having), metrics in reasons.items():
        of = "" if len(having) == len(comparison["strategies"]) else f" of {', '.join(having)}"
        said.append(f"{number(None)} {', '.join(metrics)}{of}: {reason}.")
    if any(
        item["runs"] < len(comparison["orders"]) * seeds for item in comparison["summary"].values()
    ):
        said.append(
            "Runs are missing: a seed counts where it has all orders, so means may be over "
            "different seeds. A difference is over the seeds that both have."
        )
    said += drift_lines(comparison) if full else []
    shared = comparison["shared"]
    if shared and shared["runs"]:
        said.append(
            f"Computed once and shared: {shared['evaluations']} evaluations, {shared['updates']} "
            f"updates; saved {shared['cpu_seconds']:.0f} CPU seconds."
        )
    return said


def fits(comparison: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the lines through forgetting over drift that are defined, by the kind of drift."""
    found = (comparison.get("forgetting_over_drift") or {"fits": {}})["fits"]
    return {kind: fit for kind, fit in found.items() if fit["slope"] is not None}


def slope(fit: dict[str, Any]) -> str:
    """Return the slope of such a line, with its interval if it has one."""
    return f"slope {fit['slope']:+.3g} {interval(fit['slope_interval'], '+.3g')}".rstrip()


def drift_lines(comparison: dict[str, Any]) -> list[str]:
    """Return what the lines through forgetting over drift say, if there are any."""
    found = fits(comparison)
    if not found:
        return []
    count = len(comparison["forgetting_over_drift"]["points"])
    said = [
        f"{fit['x']}: {slope(fit)}, R² {estimate(fit['r2'], fit['r2_interval'])}"
        for fit in found.values()
    ]
    return [
        f"Forgetting over drift, lines through {count} runs, taken as independent (R²: the share "
        f"of the variance of forgetting among them): {'; '.join(said)}."
    ]


def _sections(comparison: dict[str, Any], width: int) -> list[tuple[str, RenderableType]]:
    metrics = {name: HEADINGS[name] for name in shown_metrics(comparison)}
    environments = {name: _heading(name) for name in comparison["environments"]}
    base = comparison["baseline"]
    sections: list[tuple[str, RenderableType]] = [
        ("Metrics", _estimates(comparison, "metrics", metrics, width)),
        ("Success at the end", _estimates(comparison, "success", environments, width)),
    ]
    if len(comparison["strategies"]) > 1:
        difference = _estimates(comparison, "metrics", metrics, width, difference=True)
        sections.insert(1, (f"Difference to {base}, paired by seed", difference))
        for place, key in enumerate((key for key in PAIRED if key in metrics), start=2):
            title = f"{metrics[key].capitalize()}, pair by pair"
            sections.insert(place, (title, _pairs(comparison, key)))
    if any(comparison.get("episode_metrics", {})):
        sections.append(("How it was played at the end (means)", _played(comparison, width)))
    if len(comparison["orders"]) > 1:
        sections.append(("Average score by order", _orders(comparison)))
    if shown_tradeoffs(comparison):
        title = "Forgotten at the same score on the stage's own environment"
        sections.append((title, _tradeoffs(comparison)))
    sections.append(("Budget of a run (means)", _budget(comparison)))
    for label, item in comparison["summary"].items():
        for matrix in item["R"][:1]:
            tables = matrix_tables(matrix, width)
            order = " > ".join(comparison["orders"][matrix["order"]])
            sections.append((f"Mean R of {label} ({order})", tables[0]))
            sections.extend(("", table) for table in tables[1:])
    return sections


def _estimates(
    comparison: dict[str, Any],
    part: str,
    headings: dict[str, str],
    width: int,
    difference: bool = False,
) -> RenderableType:
    """Return tables with a row per strategy and a column per key of `headings`."""
    shown = {
        label: item
        for label, item in comparison["summary"].items()
        if not difference or label != comparison["baseline"]
    }
    references = _references(comparison) if part == "success" else {}
    names = [folded(label, LABEL) for label in (*shown, *references)]
    columns = []
    for key, heading in headings.items():
        values = [item[part][key] for item in shown.values()]
        form = form_of(key)
        if difference:
            form, values = f"+{form}", [value["difference"] for value in values]
        cells = [
            UNDEFINED if value is None else estimate(value["mean"], value["interval"], form, "\n")
            for value in values
        ]
        cells += [number(scores.get(key)) for scores in references.values()]
        columns.append(Column(heading, cells))
    styles = [""] * len(shown) + ["dim"] * len(references)
    return fitted([Column("strategy", names, left=True)], columns, width, styles)


def _heading(name: str) -> str:
    """Return a name as words, so that a long one is broken in a heading."""
    return folded(name, CELL).replace("\n", " ")


def _references(comparison: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the scores of random play, the base model and the expert, where there are any."""
    found = comparison.get("references", {})
    return {
        name: found[name]
        for name in ("random", "base", "expert")
        if any(score is not None for score in found.get(name, {}).values())
    }


def _played(comparison: dict[str, Any], width: int) -> RenderableType:
    """Return a row for each environment and strategy, a column for each metric of an episode."""
    summary = comparison["summary"]
    rows = [
        (environment, label, item["played"][environment])
        for environment in comparison["environments"]
        for label, item in summary.items()
    ]
    first = next(iter(summary))
    labels = [
        Column(
            "environment",
            [folded(name, LABEL) if label == first else "" for name, label, _ in rows],
            left=True,
        ),
        Column("strategy", [folded(label, LABEL) for _, label, _ in rows], left=True),
    ]
    columns = [
        Column(about["heading"], [number(row[name]["mean"], about["format"]) for _, _, row in rows])
        for name, about in comparison["episode_metrics"].items()
        if any(row[name]["mean"] is not None for _, _, row in rows)
    ]
    return fitted(labels, columns, width)


def _orders(comparison: dict[str, Any]) -> Table:
    """Return a row for each order: the mean over seeds; and how far the orders lie apart."""
    labels = comparison["strategies"]
    table = _table("order", [folded(label, CELL) for label in labels])
    table.columns[0].no_wrap = True
    columns = [
        comparison["summary"][label]["metrics"]["average_score"]["orders"] for label in labels
    ]
    for place, order in enumerate(comparison["orders"]):
        cells = [number(column[place]) for column in columns]
        table.add_row(Text(folded(" > ".join(order), LABEL)), *cells)
    known = [[value for value in column if value is not None] for column in columns]
    apart = [max(values) - min(values) if values else None for values in known]
    table.add_row(Text("greatest - least", style="dim"), *(number(value) for value in apart))
    return table


def shown_tradeoffs(comparison: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the stages in which two strategies at least can be compared at one level, with their
    names."""
    found = []
    for item in comparison.get("tradeoffs", []):  # none in a comparison by an earlier version
        order = comparison["orders"][item["order"]]
        name = f"{item['stage'] + 1}: {order[item['stage']]}"
        if len(comparison["orders"]) > 1:
            name += f" ({' > '.join(order)})"
        if len(item["strategies"]) > 1:
            found.append((name, item))
    return found


def _tradeoffs(comparison: dict[str, Any]) -> Table:
    """Return a row per stage and strategy: updates to the level, and what was forgotten."""
    table = _table("stage", [])
    table.add_column("strategy")
    for title in ("level", "updates", "forgotten", "95% interval"):
        table.add_column(title, justify="right")
    for name, item in shown_tradeoffs(comparison):
        for index, (label, value) in enumerate(item["strategies"].items()):
            table.add_row(
                Text(folded(name, LABEL) if index == 0 else ""),
                Text(folded(label, LABEL)),
                number(item["level"]),
                number(value["updates"], ".1f"),
                number(value["forgotten"], "+.2f"),
                Text(interval(value["interval"], "+.2f")),
            )
        for label, why in without_tradeoff(item).items():
            table.add_row("", Text(folded(label, LABEL)), *[UNDEFINED] * 3, Text(why))
    return table


def without_tradeoff(item: dict[str, Any]) -> dict[str, str]:
    """Return the strategies that a trade-off leaves out, with the reasons."""
    above = dict.fromkeys(item.get("above", ()), "above from the start")
    lost = dict.fromkeys(item.get("lost", ()), "lost to faults")
    return dict.fromkeys(item["left_out"], "not learnt") | above | lost


def _pairs(comparison: dict[str, Any], key: str) -> Table:
    """Return each pair's difference, the p of none, and the seeds that it takes to see one of
    0.05."""
    table = _table("first - second", [])
    for title in ("difference", "95% interval", "p", "seeds for ±0.05"):
        table.add_column(title, justify="right")
    for pair in pairs(comparison):
        value = pair["metrics"][key]
        table.add_row(
            Text(folded(f"{pair['first']} - {pair['second']}", 2 * LABEL)),
            number(value["mean"], "+.2f"),
            Text(interval(value["interval"], "+.2f")),
            number(value["p"], ".3f"),
            number(value["seeds_needed"], "d"),
        )
    return table


def _budget(comparison: dict[str, Any]) -> Table:
    headings = shown_budget(comparison)
    table = _table("strategy", ["runs", *headings.values()])
    for label, item in comparison["summary"].items():
        cells = [number(item["budget"].get(key), ",.0f") for key in headings]
        table.add_row(Text(folded(label, LABEL)), str(item["runs"]), *cells)
    return table


def _table(first: str, headings: list[str], width: int | None = None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    table.add_column(first, width=width)
    for heading in headings:
        table.add_column(Text(heading), justify="right", width=CELL if width else None)
    return table
