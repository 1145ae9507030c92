"""`contrail study`."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.text import Text

import contrail
from contrail.cli.dry_run import show_study
from contrail.cli.options import AsJson, DryRun, Quiet, plugins_of
from contrail.cli.output import outliving_readers
from contrail.fitted_tables import Column, fitted
from contrail.names import visible

LABEL_WIDTH = 34  # of the claims, so that two studies fit 120 columns
NOTHING = "–"


@outliving_readers()
def study(
    context: typer.Context,
    experiment: Annotated[
        str,
        typer.Argument(
            help="within, transfer, sequence, mixture, interface, or all.", metavar="EXPERIMENT"
        ),
    ],
    what: Annotated[
        Optional[list[str]],  # noqa: UP045 (Typer reads it at run time)
        typer.Argument(
            help="A study's file, and keys to set. Default: one of the sizes.",
            metavar="[STUDY.YAML] [KEY=VALUE]...",
        ),
    ] = None,
    size: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="smoke (default), laptop or paper; without a file."),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For example 0,1,2. Default: the file's."),
    ] = None,
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Processes at a time. Default: the file's, or 1."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The study's directory. Default: runs/study_NAME."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Ask the study's questions: matrices, and a verdict on each claim.

    The same command goes on with a study that was interrupted. Experiments of one directory share
    their runs.
    """
    given = list(what or ())
    file = given.pop(0) if given and "=" not in given[0] else None
    if dry_run:
        show_study(experiment, file, given, plugins_of(context), quiet, size, seeds, jobs)
        return
    try:
        found = contrail.study(
            experiment,
            file,
            *given,
            size=size,
            seeds=seeds,
            jobs=jobs,
            out=out,
            plugins=plugins_of(context),
            quiet=quiet,
        )
    except KeyboardInterrupt as interruption:
        print("\ninterrupted; the same command goes on", file=sys.stderr)
        raise typer.Exit(getattr(interruption, "exit_code", 130)) from None
    if as_json:
        print(json.dumps(found.record, indent=1))
    else:
        found.report()
    for name, error in found.failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if found.failed:
        print("The same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)


def show_beside(directories: Sequence[Path]) -> None:
    """Show the verdicts of studies side by side."""
    claims = contrail.Study.beside(*directories)
    labels: list[Text] = []
    cells: list[list[str]] = []
    agreements: list[str] = []
    for claim in claims:
        label = textwrap.fill(f"{claim['number']}. {claim['claim']}", LABEL_WIDTH)
        labels.append(Text(label, style="bold"))
        cells.append([verdict or NOTHING for verdict in claim["verdicts"]])
        agreements.append(claim["agreement"])
        for text, estimates in claim["criteria"].items():
            label = textwrap.fill(f"- {visible(text)}", LABEL_WIDTH, subsequent_indent="  ")
            labels.append(Text(label))
            cells.append([_figure(estimate) for estimate in estimates])
            agreements.append("")
    names = [visible(path.resolve().name) for path in directories]
    if len(set(names)) < len(names):
        names = [visible(str(path)) for path in directories]
    columns = [Column(name, [row[at] for row in cells], left=True) for at, name in enumerate(names)]
    columns.append(Column("agreement", agreements, left=True))
    console = Console(highlight=False)
    console.print(fitted([Column("claim", labels, left=True)], columns, console.width))


def _figure(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None:
        return NOTHING
    ends = estimate["interval"]
    interval = "" if ends is None else f" [{ends[0]:+z.2f}, {ends[1]:+z.2f}]"
    return f"{estimate['mean']:+z.2f}{interval}"
