"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from contrail.registry import Plugins

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would cost, from a few measured steps.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plugins_of(context: typer.Context) -> Plugins:
    """Return the loaded plugins."""
    plugins: Plugins = context.obj
    return plugins
