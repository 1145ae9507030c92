"""The page of a comparison."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.names import visible, visible_names
from contrail.plugins.html_report.blocks import Block, cell, matrix, section, table, text
from contrail.plugins.html_report.comparison_charts import (
    FIRST,
    curves,
    dots,
    drift_charts,
    metric_charts,
    success_charts,
)
from contrail.plugins.reports.comparison import (
    heading,
    notes,
    pairs,
    shown_tradeoffs,
    without_tradeoff,
)
from contrail.plugins.reports.comparison_names import (
    HEADINGS,
    NONE,
    form_of,
    shown_budget,
    shown_metrics,
)
from contrail.plugins.reports.comparison_short import answer
from contrail.plugins.reports.table import UNDEFINED, estimate, interval, number
from contrail.tables import row_names

LINKS = "A seed's number opens the cell in the page of its run, with the tasks that it lost."


def page(comparison: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return the content of a comparison's page."""
    links = run_links(comparison, directory)
    shown = visible_names(comparison)
    several = len(shown["strategies"]) > 1
    sections = [
        section("answer", "", text(*filter(None, [answer(shown)]))),
        section("metrics", "Metrics", estimates(shown, "metrics"), *metric_charts(shown)),
        section("differences", "Paired differences", *differences(shown)) if several else None,
        section("end", "Success at the end", estimates(shown, "success"), *success_charts(shown)),
        section("drift", "Forgetting over drift", *drift_charts(shown)),
        section("curves", "Success after each stage", *curves(shown)),
        section(
            "matrices",
            "Mean R, side by side",
            text(LINKS) if links else None,
            *matrices(shown, links),
        ),
        section("tradeoffs", "Forgotten at the same score on the new", tradeoffs(shown)),
        section("runs", "Runs", runs(shown)),
        section("formulas", "Formulas", formulas(shown)),
        section("budget", "Budget of a run", budget(shown), text(*notes(shown))),
    ]
    return {
        "title": visible(comparison.get("title") or comparison["name"]),
        "about": heading(shown),
        "sections": [found for found in sections if found],
    }


def estimates(comparison: dict[str, Any], part: str, key: str | None = None) -> Block | None:
    """Return the means over seeds with their intervals, a row per strategy; with `key`
    "difference", the differences to the baseline."""
    if part == "metrics":
        names = {name: HEADINGS[name] for name in shown_metrics(comparison)}
    else:
        names = {name: name for name in comparison["environments"]}
    sign = "+" if key else ""
    rows = []
    for label, item in comparison["summary"].items():
        if key and label == comparison["baseline"]:
            continue
        cells = []
        for name in names:
            value = item[part].get(name, NONE)
            value = value.get(key) if key else value
            form = sign + form_of(name)
            cells.append(
                UNDEFINED
                if value is None
                else estimate(value["mean"], value["interval"], form, "\n")
            )
        rows.append((label, *cells))
    if part == "success":
        references = comparison.get("references", {})
        for name in ("random", "base", "expert"):
            scores = [references.get(name, {}).get(item) for item in names]
            if any(score is not None for score in scores):
                rows.append((name, *map(number, scores)))
    captions = {
        "metrics": "Means over seeds, with 95% intervals",
        "success": "Success after the last stage: means over seeds, with 95% intervals",
    }
    caption = f"Difference to {comparison['baseline']}, paired by seed" if key else captions[part]
    return table(caption, ("strategy", *names.values()), rows)


def differences(comparison: dict[str, Any]) -> list[Block]:
    """Return the differences to the baseline, and the pairs of strategies."""
    made = [estimates(comparison, "metrics", "difference")]
    base = comparison["baseline"]
    for name in (name for name in FIRST if name in shown_metrics(comparison)):
        values = {
            label: item["metrics"][name]["difference"]
            for label, item in comparison["summary"].items()
            if label != base and name in item["metrics"]
        }
        made.append(
            dots(
                f"{HEADINGS[name].capitalize()} less that of {base}, seed by seed",
                f"difference of {HEADINGS[name]}",
                values,
            )
        )
    rows = []
    for pair in pairs(comparison):
        found = pair["metrics"].get("average_score", NONE)
        if found["mean"] is None:
            continue
        rows.append(
            (
                f"{pair['first']} - {pair['second']}",
                number(found["mean"], "+.2f"),
                interval(found["interval"], "+.2f"),
                number(found["p"], ".3f"),
                str(found["seeds"]),
                number(found["seeds_needed"], "d"),
            )
        )
    made.append(
        table(
            "Average score, pair by pair",
            ("pair", "difference", "95% interval", "p", "seeds", "seeds for ±0.05"),
            rows,
            "p is that of the sign-flip permutation test over seeds.",
        )
    )
    return [block for block in made if block]


def run_links(
    comparison: dict[str, Any], directory: Path
) -> dict[tuple[str, int], list[list[Any]]]:
    """Return by strategy and order its runs: the seed, and the run's own page from here.

    Pages that are not there are left out.
    """
    found: dict[tuple[str, int], list[list[Any]]] = {}
    for row in comparison["rows"]:
        run = Path(row["run"])
        if not run.is_dir():  # the comparison has been moved
            run = directory / run.name
        if (run / "report.html").is_file():
            link = Path(os.path.relpath(run / "report.html", directory)).as_posix()
            own = found.setdefault((visible(row["strategy"]), row["order"]), [])
            own.append([str(row["seed"]), link])
    return found


def matrices(
    comparison: dict[str, Any], links: Mapping[tuple[str, int], Sequence[Sequence[Any]]]
) -> list[Block]:
    """Return R of each strategy, the mean over its seeds; cells lead to the runs' own pages."""
    made = []
    for label, item in comparison["summary"].items():
        for found in item["R"]:
            own = links.get((label, found["order"]), ())
            rows = []
            for i, name in enumerate(row_names(found)):
                cells = [
                    cell(
                        value,
                        found["interval"][i][j],
                        own=i > 0 and found["environments"][j] in found["trained"][i - 1],
                        links=[[seed, f"{page}#cell={i},{j}"] for seed, page in own],
                    )
                    for j, value in enumerate(found["R"][i])
                ]
                rows.append((name, cells))
            order = " > ".join(comparison["orders"][found["order"]])
            made.append(
                matrix(
                    f"{label} ({order}), {len(found['seeds'])} seed"
                    + "s" * (len(found["seeds"]) > 1),
                    found["environments"],
                    rows,
                    scale="share",
                )
            )
    return made


def tradeoffs(comparison: dict[str, Any]) -> Block | None:
    """Return what was forgotten by the time when strategies had learnt the same."""
    rows: list[tuple[str, ...]] = []
    for name, item in shown_tradeoffs(comparison):
        for label, value in item["strategies"].items():
            row = (
                number(item["level"]),
                number(value["updates"], ".1f"),
                number(value["forgotten"], "+.2f"),
                interval(value["interval"], "+.2f"),
            )
            rows.append((name, label, *row))
        for label, why in without_tradeoff(item).items():
            rows.append((name, label, *[UNDEFINED] * 3, why))
    columns = ("stage", "strategy", "level", "updates", "forgotten", "95% interval")
    return table("At the level that all strategies reach", columns, rows)


def runs(comparison: dict[str, Any]) -> Block | None:
    """Return a row per run."""
    names = shown_metrics(comparison)
    rows = [
        (
            row["strategy"],
            " > ".join(comparison["orders"][row["order"]]),
            row["seed"],
            *(number(row["metrics"].get(name), form_of(name)) for name in names),
        )
        for row in comparison["rows"]
    ]
    return table(
        "Each run", ("strategy", "order", "seed", *(HEADINGS[name] for name in names)), rows
    )


def formulas(comparison: dict[str, Any]) -> Block | None:
    """Return the formulas of the metrics."""
    found = comparison["formulas"]
    rows = [(HEADINGS[name], found[name]) for name in shown_metrics(comparison) if name in found]
    caption = "R[i][j] is success on j after stage i of T; row 0 is the base model"
    return table(caption, ("metric", "formula"), rows)


def budget(comparison: dict[str, Any]) -> Block | None:
    """Return what a run of each strategy has cost, the mean."""
    names = shown_budget(comparison)
    rows = []
    for label, item in comparison["summary"].items():
        values = [item["budget"].get(key) for key in names]
        rows.append((label, *("–" if value is None else f"{value:,.0f}" for value in values)))
    return table("Means over runs", ("strategy", *names.values()), rows)
