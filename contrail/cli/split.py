"""`contrail split`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

import contrail
from contrail.cli.options import AsJson, Quiet, plugins_of
from contrail.cli.output import outliving_readers, show
from contrail.names import visible


@outliving_readers()
def split(
    context: typer.Context,
    stream: Annotated[Path, typer.Argument(help="The stream file.", metavar="STREAM.YAML")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 (Typer reads it at run time)
        typer.Argument(help="Keys to set, for example model=RUN.", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("split.json"),
    samples: Annotated[int, typer.Option(min=1, help="Episodes of each task.")] = 8,
    tasks: Annotated[int, typer.Option(min=1, help="Training tasks of each environment.")] = 128,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The least pass rate of an easy task.")
    ] = 0.5,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Split tasks into easy and hard by a policy's own pass rate.

    The policy is the stream's model; the tasks are those of its environments. The same command goes
    on with a split that was interrupted.
    """
    content = contrail.split(
        stream,
        *(overrides or ()),
        out=out,
        samples=samples,
        tasks=tasks,
        threshold=threshold,
        plugins=plugins_of(context),
        quiet=quiet,
    )
    from contrail.runs.split import counts

    if as_json:
        print(json.dumps(counts(content), indent=1))
        return
    table = Table("environment", "tasks", "easy", "hard", "pass rate")
    for row in counts(content):
        table.add_row(
            Text(visible(row["environment"])),
            row["split"],
            str(row["easy"]),
            str(row["hard"]),
            f"{row['pass_rate']:.2f}",
        )
    show(table)
    print(f"In a stream, as a key of the environment: pass_rates: {out}")
