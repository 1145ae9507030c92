"""The command `new`: the package of a new plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from contrail.cli.options import plugins_of
from contrail.scaffold import KINDS, create


def new(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help=f"What to write: {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="The name to register, such as number-hunt.")],
    directory: Annotated[
        Optional[Path],  # noqa: UP045 (Typer reads it at run time)
        typer.Option("--dir", help="Where to write it. Default: contrail-NAME."),
    ] = None,
) -> None:
    """Write the package of a new plugin.

    It works as it is, and is there to be edited.
    """
    written = create(kind, name, plugins_of(context), directory)
    module = f"contrail_{name.replace('-', '_')}.py"
    place = directory or written.name
    print(f"""{written}

  cd {place}
  contrail check {module}
  contrail run stream.yaml --out runs/1

README.md goes on from there.""")
