"""A comparison in brief: the answer, then one table each of metrics, success and cost."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType

from contrail.fitted_tables import Column, fitted
from contrail.plugins.reports.comparison_names import HEADINGS, NONE, form_of, shown_budget
from contrail.plugins.reports.table import estimate, folded, number

SHOWN = ("average_score", "forgetting", "forward_transfer", "delta_held_out", "drift")
LABEL = 20  # longer names are folded
HEADING = 14  # longer names of environments are folded
COSTS = ("cpu_seconds", "episodes", "generated_tokens", "extra_episodes", "extra_tokens")


def answer(comparison: dict[str, Any]) -> str:
    """Return what the comparison says, in a sentence: what was kept, forgotten, gained.

    A strategy is said to be the best only where strategies differ: where the interval over seeds
    of the difference between the best and the worst is above 0, though these two were chosen.
    """
    said = []
    ranked = _ranked(comparison, "average_score")
    if ranked:
        best, value = ranked[-1]
        text = f"{best} ends with the highest average score, {_estimate(value)}"
        if len(ranked) > 1 and not _differs(comparison, "average_score", best, ranked[0][0]):
            text = _no_difference("average score", ranked[::-1])
        elif value["difference"] is not None and value["difference"]["mean"] is not None:
            difference = _estimate(value["difference"], "+.2f")
            text += f", {difference} against {comparison['baseline']}"
        said.append(text)
    forgot = _ranked(comparison, "forgetting")
    if forgot:
        (least, small), (most, large) = forgot[0], forgot[-1]
        text = f"{least} forgets least, {_estimate(small)}"
        if len(forgot) > 1 and not _differs(comparison, "forgetting", most, least):
            text = _no_difference("forgetting", forgot)
        elif least != most:
            text += f", {most} most, {_estimate(large)}"
        said.append(text)
    for name, where in (
        ("delta_held_out", "in environments never trained on"),
        ("forward_transfer", "in environments before their own stage"),
    ):
        gained = _ranked(comparison, name)
        if len(gained) > 1 or len(comparison["summary"]) == len(gained) == 1:
            label, value = gained[-1]
            sure = all(
                ends is not None and ends[0] > 0
                for ends in (value.get("interval"), _chosen(comparison, name, "greatest", value))
            )
            text = f"{label} gains most" if sure else f"no gain shows, at most {label}'s,"
            said.append(f"{where}, {text} {_estimate(value, '+.2f')}")
            break
    text = "; ".join(said) + "." if said else ""
    return f"N{text[1:]}" if text.startswith("no ") else text


def _differs(comparison: dict[str, Any], metric: str, one: str, other: str) -> bool:
    """Return whether the interval of the difference of the best and the worst excludes 0."""
    for pair in comparison["pairs"]:
        if {pair["first"], pair["second"]} == {one, other}:
            found = pair["metrics"].get(metric, NONE)
            every = (found.get("interval"), _chosen(comparison, metric, "range", found))
            return all(ends is not None and (ends[0] > 0 or ends[1] < 0) for ends in every)
    return False


def _chosen(
    comparison: dict[str, Any], metric: str, name: str, value: dict[str, Any]
) -> list[float] | None:
    """Return an interval that allows for the choice of the best; the value's own where there is
    none, since all seeds agree or the comparison is of an earlier version."""
    found: list[float] | None = comparison.get("extremes", {}).get(metric, {}).get(name)
    return found or value.get("interval")


def _no_difference(what: str, ranked: list[tuple[str, dict[str, Any]]]) -> str:
    """Return that strategies do not differ, and the ends of their range; `ranked` best first."""
    (best, high), (worst, low) = ranked[0], ranked[-1]
    alike = number(high["mean"]) == number(low["mean"])
    # Of an interrupted comparison, strategies have fewer seeds than are planned.
    counts = sorted({value["seeds"] for _, value in (ranked if alike else (ranked[0], ranked[-1]))})
    among = "one seed" if counts == [1] else f"{counts[-1]} seeds"
    if len(counts) > 1:
        among = f"{counts[0]} to {among}"
    text = f"no difference in {what} shows ({among})"
    if alike:
        return f"{text}: {number(high['mean'])} each"
    return f"{text}: from {best}, {_estimate(high)}, to {worst}, {_estimate(low)}"


def sections(comparison: dict[str, Any], width: int) -> list[tuple[str, RenderableType]]:
    """Return the tables with their titles."""
    summary = comparison["summary"]
    labels = [Column("strategy", [folded(label, LABEL) for label in summary], left=True)]
    base = comparison["baseline"]
    metrics = []
    for name in SHOWN:
        values = [item["metrics"].get(name, NONE) for item in summary.values()]
        if all(value["mean"] is None for value in values):
            continue
        form = form_of(name)
        metrics.append(Column(HEADINGS[name], [_estimate(value, form) for value in values]))
        if name == "average_score" and len(summary) > 1:
            differences = [value["difference"] or NONE for value in values]
            cells = [_estimate(value, "+.2f") for value in differences]
            metrics.append(Column(f"against {base}", cells))
    found = [
        ("Metrics, over all stages and environments", fitted(labels, metrics, width)),
        ("Success at the end", _success(comparison, width)),
        ("Cost of a run (means)", fitted(labels, _costs(comparison), width)),
    ]
    return found


def _success(comparison: dict[str, Any], width: int) -> RenderableType:
    """Return a row per strategy and per reference, a column per environment."""
    found = comparison.get("references", {})
    references = {
        name: found[name]
        for name in ("random", "base", "expert")
        if any(score is not None for score in found.get(name, {}).values())
    }
    summary, environments = comparison["summary"], comparison["environments"]
    names = [folded(label, LABEL) for label in (*summary, *references)]
    labels = Column("", names, left=True)
    columns = []
    for environment in environments:
        cells = [number(item["success"][environment]["mean"]) for item in summary.values()]
        cells += [number(scores.get(environment)) for scores in references.values()]
        heading = folded(environment, HEADING).replace("\n", " ")
        columns.append(Column(heading, cells))
    styles = [""] * len(summary) + ["dim"] * len(references)
    return fitted([labels], columns, width, styles)


def _costs(comparison: dict[str, Any]) -> list[Column]:
    summary = comparison["summary"]
    headings = {"runs": "runs", **shown_budget(comparison)}
    columns = [Column("runs", [str(item["runs"]) for item in summary.values()])]
    for key in COSTS:
        if key in headings:
            cells = [f"{item['budget'].get(key, 0):,.0f}" for item in summary.values()]
            columns.append(Column(headings[key], cells))
    return columns


def _ranked(comparison: dict[str, Any], metric: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the strategies for which a metric is defined, the lowest first."""
    found = {
        label: item["metrics"].get(metric, NONE) for label, item in comparison["summary"].items()
    }
    known = {label: value for label, value in found.items() if value["mean"] is not None}
    return sorted(known.items(), key=lambda item: item[1]["mean"])


def _estimate(value: dict[str, Any], form: str = ".2f") -> str:
    """Return a mean with its interval on one line."""
    return estimate(value["mean"], value.get("interval"), form)
