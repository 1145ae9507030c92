"""A study on the terminal, and the same as EXPERIMENT.md: matrices, and the claims' verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

import contrail
from contrail.names import visible
from contrail.plugins.reports.comparison import edited_line
from contrail.plugins.reports.console import duration
from contrail.plugins.reports.table import UNDEFINED, estimate, write

VERDICTS = {"holds": "green", "does not hold": "red", "cannot be told": "yellow"}


@contrail.hookimpl(trylast=True)  # the list of files is complete once the others have written
def contrail_study(study: dict[str, Any], directory: str) -> None:
    """Print the page, and write it as Markdown."""
    name = study["experiment"]
    write(Path(directory, f"{name}.md"), (markdown(study).rstrip() + "\n").encode())
    show(study, Console())
    files = sorted(path.name for path in Path(directory).glob(f"{name}.*"))
    print(f"In {visible(directory)}: {', '.join(files)}, runs/")


def markdown(study: Mapping[str, Any]) -> str:
    """Return the page as Markdown."""
    lines = [
        f"# {_escape(study['name'])}: {', '.join(study['experiments'])}",
        "",
        _escape(about(study)),
        "",
    ]
    for line in warnings(study):
        lines += [_escape(line), ""]
    if study["claims"]:
        lines += ["## Claims", "", study["rule"], "", f"Claims and figures: {study['paper']}.", ""]
        lines += _rows(
            ["#", "claim", "published", "here, with 95% interval over seeds", "verdict"],
            [
                [
                    claim["number"],
                    claim["claim"],
                    claim["published"],
                    "; ".join(figures(claim)),
                    verdict(claim),
                ]
                for claim in study["claims"]
            ],
        )
        lines += ["What is compared:", ""]
        lines += [f"- {claim['number']}: {claim['rule']}." for claim in study["claims"]]
        lines += [""]
    for table in study["tables"]:
        lines += [f"## {_escape(table['title'])}", ""]
        lines += [_escape(table["note"]), ""] if table["note"] else []
        rows = [
            [row["label"], *(cell_text(cell, table["signed"]) for cell in row["cells"])]
            for row in table["rows"]
        ]
        lines += _rows(["", *table["columns"]], rows)
    return "\n".join(lines)


def show(study: Mapping[str, Any], console: Console) -> None:
    """Print the page."""
    console.print(Text(visible(about(study))))
    for line in warnings(study):
        console.print(Text(visible(line)))
    for table in study["tables"]:
        console.print(_matrix(table))
        if table["note"]:
            console.print(Text(visible(table["note"])))
    if study["claims"]:
        console.print(_claims(study["claims"]))
        console.print(Text(study["rule"]))


def warnings(study: Mapping[str, Any]) -> list[str]:
    """Return what is missing, and what may be wrong."""
    missing = {**study["left_out"], **study["failed"]}
    return [
        *(f"Left out: {what}: {why}" for what, why in missing.items()),
        *map(edited_line, study.get("edited", ())),
    ]


def about(study: Mapping[str, Any]) -> str:
    """Return what was run, in one sentence."""
    seeds = ", ".join(map(str, study["seeds"]))
    runs = study["runs"]
    ended = "" if runs["ended"] == runs["planned"] else f" of {runs['planned']}"
    return (
        f"{study['model']} with the adapter {study['adapter']}; environments: "
        f"{', '.join(study['environments'])}; seeds {seeds}; at most "
        f"{study['test_tasks']} test tasks of each environment; {runs['ended']}{ended} runs, "
        f"{duration(study['cpu_seconds'])} CPU."
    )


def verdict(claim: Mapping[str, Any]) -> str:
    """Return a verdict, with the reason why it cannot be told."""
    reason = f": {claim['reason']}" if claim["reason"] else ""
    return f"{claim['verdict']}{reason}"


def figures(claim: Mapping[str, Any]) -> list[str]:
    """Return the criteria of a claim with their figures; without any figure, nothing."""
    known = [item for item in claim["criteria"] if item["mean"] is not None]
    return [figure(item) for item in claim["criteria"]] if known else []


def figure(criterion: Mapping[str, Any]) -> str:
    """Return a criterion with its figures."""
    needed = " (needed)" if criterion["needed"] else ""
    if criterion["mean"] is None:
        return f"{criterion['text']}{needed}: {UNDEFINED}"
    seeds = "seed" if criterion["seeds"] == 1 else "seeds"
    return (
        f"{criterion['text']}{needed} {cell_text(criterion, signed=True)}, "
        f"{criterion['seeds']} {seeds}; wanted {criterion['region']}"
    )


def cell_text(cell: Mapping[str, Any] | None, signed: bool, between: str = " ") -> str:
    """Return an estimate with its interval, if it has one; a dash without either."""
    if cell is None:
        return UNDEFINED
    form = "+.2f" if signed else ".2f"
    return estimate(cell["mean"], cell["interval"], form, between)


def _matrix(table: Mapping[str, Any]) -> RenderableType:
    made = Table(title=Text(visible(table["title"])), box=box.SIMPLE_HEAD, title_justify="left")
    made.add_column("", overflow="fold")
    for column in table["columns"]:
        made.add_column(Text(visible(column)), justify="right", overflow="fold")
    for row in table["rows"]:
        cells = []
        for cell in row["cells"]:
            cells.append(Text(cell_text(cell, table["signed"], between="\n")))
        made.add_row(Text(visible(row["label"])), *cells)
    return made


def _claims(claims: Sequence[Mapping[str, Any]]) -> RenderableType:
    made = Table(title=Text("Claims"), box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("#", "claim", "published", "here", "verdict"):
        made.add_column(name, overflow="fold")
    for claim in claims:
        made.add_row(
            claim["number"],
            claim["claim"],
            claim["published"],
            Group(*map(Text, figures(claim))),
            Text(verdict(claim), style=VERDICTS[claim["verdict"]]),
        )
    return made


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(_escape, line)) + " |" for line in lines] + [""]


def _escape(text: str) -> str:
    """Return a text as it is in Markdown, on one line, in a cell."""
    plain = visible(text).replace("\n", " ").replace("|", "\\|")
    return plain.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
