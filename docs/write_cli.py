"""Writes docs/cli.md from the commands themselves: `python docs/write_cli.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
import typer.core

from contrail.cli.app import cli

PAGE = Path(__file__).with_name("cli.md")
HEAD = "# Commands\n\nWritten by `docs/write_cli.py`. Each command shows the same with `-h`.\n"


def page() -> str:
    """Return the page."""
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    return HEAD + "".join(map(_section, group.commands.values()))


def _section(command: Any) -> str:
    context = command.make_context(command.name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = ["", f"## contrail {command.name}", "", f"`contrail {command.name} {usage}`", ""]
    lines += [(command.help or "").split("\f")[0].strip(), ""]
    rows = [row for item in command.params if (row := _row(item)) is not None]
    if rows:
        lines += ["| option or argument | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _row(item: Any) -> str | None:
    if item.param_type_name == "option":
        if item.hidden:
            return None
        name, text = ", ".join([*item.opts, *item.secondary_opts]), item.help or ""
    else:
        name, text = item.metavar or item.name.upper(), getattr(item, "help", None) or ""
    return f"| `{_cell(name)}` | {_cell(text)} |" if text else None


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
