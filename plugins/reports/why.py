"""Why a result is as it is, as tables: several samples of a task, tasks lost and gained."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from contrail.plugins.reports.table import UNDEFINED, estimate, folded, interval, number

LABEL = 24  # longer names are folded
CELL = 18  # the width of "[0.00123, 0.00456]"
MODES = 4  # of an environment
NATS = ".3g"  # divergences are of all sizes


def sections(result: dict[str, Any], width: int) -> dict[str, list[RenderableType]]:
    """Return the tables that a result has, by their titles."""
    found: dict[str, list[RenderableType]] = {
        "Several episodes per task: the mean, and the share of tasks that one of k solves": samples(
            result
        ),
        f"Drift from {beginning(result)[1]}: nats per decision (and per episode)": drift(
            result, "base", width
        ),
        "Drift from the stage before": drift(result, "previous", width),
        "Interface reliance: success lost where only the interface changed": interface(result),
        "Test tasks lost and gained since an environment's best": turnover(result),
        "How it failed: the commonest failure modes, as shares of all episodes": failures(result),
    }
    return {title: tables for title, tables in found.items() if tables}


def samples(result: dict[str, Any]) -> list[RenderableType]:
    """Return avg@k and pass@k of each environment before any training, and at the end."""
    ks = [
        (key, k)
        for key in ("avg_at", "pass_at")
        for k in result["evaluations"][0].get(result["environments"][0], {}).get(key, {})
    ]
    if not ks:
        return []
    headings = [f"{key.removesuffix('_at')}@{k}" for key, k in ks]
    table = new_table("environment", "", *headings)
    for environment in result["environments"]:
        for index, (moment, evaluations) in enumerate(moments(result).items()):
            played = evaluations.get(environment, {})
            table.add_row(
                Text(folded(environment, LABEL) if index == 0 else ""),
                moment,
                *(_estimate(played.get(key, {}).get(k)) for key, k in ks),
            )
    return [table]


def drift(result: dict[str, Any], kind: str, width: int) -> list[RenderableType]:
    """Return tables with a row per stage, a column per environment: the drift of the policies that
    played, each table within `width` columns of text."""
    found = result.get("drift", {}).get(kind)
    if not found:
        return []
    columns = [*result["environments"], "mean"]
    share = max(1, (width - LABEL - 2) // (CELL + 2))
    tables: list[RenderableType] = []
    for start in range(0, len(columns), share):
        chosen = range(start, min(start + share, len(columns)))
        table = new_table("", *(folded(columns[j], CELL) for j in chosen))
        for i, name in enumerate(result["stages"], start=1):
            cells = [_drift(found, i, j) for j in chosen]
            table.add_row(Text(folded(f"after {i}: {name}", LABEL)), *cells)
        tables.append(table)
    return tables


def interface(result: dict[str, Any]) -> list[RenderableType]:
    """Return a row per environment with an interface shift: what it has less than its original,
    before any training and at the end."""
    if not result.get("interface"):
        return []
    table = new_table("environment", "original", "base", "end")
    for name, lost in result["interface"].items():
        ends = [{"value": lost["value"][row], "interval": lost["interval"][row]} for row in (0, -1)]
        table.add_row(
            Text(folded(name, LABEL)), Text(folded(lost["original"], LABEL)), *map(_estimate, ends)
        )
    return [table]


def _drift(found: dict[str, Any], row: int, column: int) -> Text:
    """Return a cell: nats per decision and per episode; the column after the last is the mean."""

    def value(unit: str, name: str, mean: str) -> Any:
        cells = found[unit][name][row]
        return cells[column] if column < len(cells) else found[unit][mean][row]

    one, whole = (value(unit, "value", "mean") for unit in ("per_decision", "per_episode"))
    ends = interval(value("per_decision", "interval", "mean_interval"), NATS)
    return Text(f"{nats(one)} ({nats(whole)})" + (f"\n{ends}" if ends else ""))


def nats(value: float | None) -> str:
    """Return a divergence as text."""
    return number(value, NATS)


TURNOVER_NOTE = (
    "The best row is chosen by one half of the tasks and judged by the other, and the reverse, so "
    "that luck is not counted as a loss. With few tasks this may miss a fall that R shows."
)


def turnover(result: dict[str, Any]) -> list[RenderableType]:
    """Return a row per environment: the share of its test tasks lost and gained since its best."""
    found = result.get("turnover", {})
    if not found:
        return []
    dice = any(values["independent_dice"] is not None for values in found.values())
    table = new_table("environment", "lost", "gained", "best after")
    if dice:
        table.add_column("by dice alone", justify="right")
    names = ["base", *(f"{i}: {name}" for i, name in enumerate(result["stages"], start=1))]
    for environment, values in found.items():
        best = "\n".join(folded(names[row], LABEL) for row in values["best"]) or number(None)
        cells = [Text(_estimate(values["lost"])), Text(_estimate(values["gained"])), Text(best)]
        if dice:
            cells.append(Text(number(values["independent_dice"])))
        table.add_row(Text(folded(environment, LABEL)), *cells)
    return [table, Text(TURNOVER_NOTE, style="dim")]


def failures(result: dict[str, Any]) -> list[RenderableType]:
    """Return the commonest failure modes of each environment, before any training and at the end.

    An episode may show several.
    """
    rows = moments(result)
    table = new_table("environment", "", *rows)
    table.columns[1].justify = "left"
    for environment in result["environments"]:
        found = [row.get(environment, {}).get("failures") for row in rows.values()]
        if None in found:  # a result of an earlier version
            continue
        modes = {name for counts in found for name in counts["modes"]}
        lines = {
            name: [counts["modes"].get(name, 0) for counts in found]
            for name in sorted(modes, key=lambda name: _commonness(found, name))[:MODES]
        }
        lines = {"failed": [counts["failed"] for counts in found], **lines}
        for name, numbers in lines.items():
            shares = [
                count / counts["episodes"] if counts["episodes"] else None
                for count, counts in zip(numbers, found, strict=True)
            ]
            first = name == "failed"
            label = name if first else f"  {name.replace('_', ' ')}"
            cells = map(number, shares)
            table.add_row(Text(folded(environment, LABEL) if first else ""), Text(label), *cells)
    return [table] if table.row_count else []


def _commonness(found: list[dict[str, Any]], name: str) -> tuple[int, str]:
    return -max(counts["modes"].get(name, 0) for counts in found), name


def worst(result: dict[str, Any]) -> str | None:
    """Return a sentence about the environment with the lowest score at the end.

    None where every stage begins anew: then the last row is of an agent that has seen one of them.
    """
    if result.get("restarts"):
        return None
    known = [(score, j) for j, score in enumerate(result["R"][-1]) if score is not None]
    if len(known) < 2:
        return None
    score, j = min(known)
    name = result["environments"][j]
    ends = result["interval"][-1][j]
    return f"Worst environment at the end: {name}, {estimate(score, ends)}."


def _estimate(found: dict[str, Any] | None) -> str:
    """Return a value, with its interval on a second line."""
    return UNDEFINED if found is None else estimate(found["value"], found["interval"], between="\n")


def beginning(result: dict[str, Any]) -> tuple[int, str]:
    """Return the row of R that changes, drift and metrics begin with, and what it is of: after a
    warm-up that is the policy that the warm-up has made."""
    if result.get("warmup") and len(result["R"]) > 1:
        return 1, "the policy after the warm-up"
    begun = result.get("begun_from")
    return 0, f"the policy of {begun['model']}" if begun else "the base model"


def moments(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the evaluations before any training and, if there was any, at the end."""
    found = {"base": result["evaluations"][0]}
    if len(result["evaluations"]) > 1:
        found["end"] = result["evaluations"][-1]
    return found


def new_table(*headings: str) -> Table:
    """Return a table without lines; all columns but the first are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for index, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if index else "left")
    return table
