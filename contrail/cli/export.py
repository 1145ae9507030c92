"""The command `export`: a finished run to give away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

import contrail
from contrail.cli.options import plugins_of


def export(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="The directory of a run.", metavar="RUN")],
    out: Annotated[
        Optional[Path],  # noqa: UP045 (Typer reads it at run time)
        typer.Option(help="A folder, or an archive: NAME.zip. Default: exports/NAME."),
    ] = None,
    stage: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Whose LoRA. Default: the last stage's."),
    ] = None,
    license: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of the weights, as the hub names it, for example apache-2.0."),
    ] = None,
) -> None:
    """Collect a finished run: the LoRA, its model card, tables, figures and reports.

    The LoRA loads with plain PEFT.
    """
    result = contrail.Result.read(directory, plugins_of(context))
    print(result.export(out, stage=stage, license=license))
