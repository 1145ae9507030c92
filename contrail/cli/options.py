"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from contrail.registry.plugins import Plugins

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would cost, from a few measured steps.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plugins_of(context: typer.Context) -> Plugins:
    """Return the loaded plugins."""
    plugins: Plugins = context.obj
    return plugins


def key_in_place_of(option: str, command: Any, arguments: Sequence[str]) -> str:
    """Return a hint to the key that an unknown option stands for; "" if there is none.

    Args:
        option: as it is written, with its dashes.
        command: of the command line, which refuses the option.
        arguments: the command line.
    """
    metavars = [item.metavar or "" for item in command.params]
    if not any("KEY=VALUE" in text for text in metavars):
        return ""
    name = option.lstrip("-").replace("-", "_")
    key: str | None = name
    if any(".YAML" in text for text in metavars):
        from contrail.config.hints import override_of

        key = override_of(name)
    if key is None:
        return ""
    value = "VALUE"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        before, equals, after = word.partition("=")
        if before == option:
            value = after if equals else following or value
    return f"A key is set without dashes: {key}={value if value[:1] != '-' else 'VALUE'}"
