"""result.csv, one row per stage and environment; and R as text, for the other reports."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contrail

UNDEFINED = "\N{EN DASH}"
COLUMNS = (
    "run",
    "strategy",
    "seed",
    "stage",
    "stage_name",
    "environment",
    "success",
    "low",
    "high",
    "change",
    "change_low",
    "change_high",
    "reward",
    "turns",
    "generated_tokens",
    "invalid_action_rate",
    "fault_rate",
    "tasks",
)


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Write result.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(result))
    write(Path(directory, "result.csv"), text.getvalue().encode())


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The result in long format, keyed by `COLUMNS`; what is undefined is None (an empty cell)."""
    return [
        {
            **result["evaluations"][i].get(environment, {}),
            "run": result["name"],
            "strategy": result["strategy"],
            "seed": result["seed"],
            "stage": i,
            "stage_name": stage,
            "environment": environment,
            "success": result["R"][i][j],
            "change": result["change"]["value"][i][j],
            **_ends(result["interval"][i][j], "low", "high"),
            **_ends(result["change"]["interval"][i][j], "change_low", "change_high"),
        }
        for i, stage in enumerate(["base", *result["stages"]])
        for j, environment in enumerate(result["environments"])
    ]


def row_names(result: dict[str, Any]) -> list[str]:
    """What R's rows are called: "base", "after 1: babyai", …; or, where each stage begins with the
    base model, "1: babyai alone"."""
    form = "{}: {} alone" if result.get("restarts") else "after {}: {}"
    return ["base", *(form.format(i, name) for i, name in enumerate(result["stages"], start=1))]


def is_own_stage(result: dict[str, Any], row: int, column: int) -> bool:
    """Whether the stage before `row` trained on the environment of `column`."""
    return row > 0 and result["environments"][column] in result["trained"][row - 1]


def number(value: float | None, form: str = ".2f") -> str:
    """A number for reading; undefined is a dash, never 0."""
    return UNDEFINED if value is None else format(value, form)


def interval(ends: Sequence[float] | None, form: str = ".2f") -> str:
    """An interval for reading; nothing where there is none: the dash of its value says enough."""
    return "" if ends is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


def folded(name: str, width: int) -> str:
    """A long name on several lines of at most `width`, broken after - _ + / where it has any."""
    lines = [""]
    for part in re.findall(r"[^-_+/\s]*[-_+/\s]?", name):
        if len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.strip() for line in lines if line.strip())


def markdown(result: dict[str, Any]) -> str:
    """R as a Markdown table: a row per stage, a column per environment, own stages in bold."""
    lines = [["", *result["environments"]], ["---"] * (len(result["environments"]) + 1)]
    for i, name in enumerate(row_names(result)):
        cells = []
        for j, value in enumerate(result["R"][i]):
            score = f"**{number(value)}**" if is_own_stage(result, i, j) else number(value)
            cells.append(f"{score} {interval(result['interval'][i][j])}".rstrip())
        lines.append([name, *cells])
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def write(path: Path, content: bytes) -> None:
    """Put a report in its place whole: a reader never meets half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _ends(ends: Sequence[float] | None, low: str, high: str) -> dict[str, float | None]:
    return {low: None, high: None} if ends is None else {low: ends[0], high: ends[1]}
