"""The commands that list strategies, adapters, models and plugins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contrail.cli.options import plugins_of
from contrail.cli.output import show
from contrail.names import visible

if TYPE_CHECKING:
    from contrail.registry.registered import Registered
    from contrail.registry.registered import Table as Registry

Name = Annotated[
    Optional[str],  # noqa: UP045 (Typer reads it at run time)
    typer.Argument(help="Show this one, with the meaning of its keys. Default: list all."),
]


def strategies(context: typer.Context, name: Name = None) -> None:
    """List the strategies and their keys."""
    _list(plugins_of(context).strategies, name, lambda cls: cls.Config)


def adapters(context: typer.Context, name: Name = None) -> None:
    """List the adapters and their keys.

    An adapter is the interface through which the model acts.
    """
    _list(plugins_of(context).adapters, name, lambda cls: cls.Config)


def objectives(context: typer.Context, name: Name = None) -> None:
    """List the objectives and their keys.

    An objective is what a stage learns by.
    """
    _list(plugins_of(context).objectives, name, lambda cls: cls.Config)


def models(context: typer.Context, name: Name = None) -> None:
    """List the models that have a name.

    `model` also takes a directory, or an id of the hub.
    """
    _list(plugins_of(context).models, name, lambda source: None)


def list_plugins(context: typer.Context) -> None:
    """List the plugins, their versions, and the hooks each implements."""
    plugins = plugins_of(context)
    table = Table("plugin", "version", "from", "registers", "hooks")
    for info in plugins.info():
        hooks = ", ".join(hook.removeprefix("contrail_") for hook in info.hooks)
        registers = ", ".join(plugins.registered_by(info.name))
        cells = (info.name, info.version, info.source, registers, hooks)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    show(table)


def _list(
    registry: Registry[Any], name: str | None, config_of: Callable[[Any], type | None]
) -> None:
    """Print a table of all entries, or one entry with its documentation.

    Args:
        registry: the strategies, adapters or models.
        name: the entry to show; None for the table.
        config_of: returns the `Config` of a registered value, or None if it takes no keys.

    Raises:
        ConfigError: no entry has the name.
    """
    from contrail.config.document import keys_of, summary

    if name is not None:
        show_entry(registry.kind, name, registry[name], config_of(registry[name].value))
        return
    columns = [registry.kind, "plugin", "description"]
    entries = registry.entries.items()
    keyed = any(config_of(entry.value) is not None for _, entry in entries)
    table = _table(*columns, *(["keys and defaults"] if keyed else []))
    for entry_name, entry in sorted(entries):
        config = config_of(entry.value)
        keys = [f"{key.name}={_short(key.default)}" for key in keys_of(config)] if config else []
        cells = [entry_name, entry.plugin, summary(entry.value)]
        table.add_row(*map(_text, cells), *([_text("  ".join(keys) or "–")] if keyed else []))
    show(table)


def show_entry(kind: str, name: str, entry: Registered[Any], config: type | None) -> None:
    """Print the docstring of a registered value, and its keys with their meanings.

    Args:
        kind: the word for it, such as "strategy".
        name: its registered name.
        entry: the value, with its plugin.
        config: its `Config`; None if it takes no keys.
    """
    from contrail.config.document import documentation, keys_of

    console = Console(highlight=False)
    console.print(Text(f"{visible(name)}: {kind} of the plugin {visible(entry.plugin)}"))
    if about := documentation(entry.value):
        console.print()
        console.print(Text(_unwrapped(about)))
    if config is None:
        return
    keys = keys_of(config)
    if not keys:
        console.print("\nIt has no keys.")
        return
    table = _table("key", "type", "default", "meaning")
    for key in keys:
        table.add_row(*map(_text, (key.name, key.type, _short(key.default), key.meaning or "–")))
    console.print()
    show(table)


def _unwrapped(docstring: str) -> str:
    """Join the lines of each paragraph, so that the terminal can wrap them again."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    return "\n\n".join(text if "\n " in text else " ".join(text.split("\n")) for text in paragraphs)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    return table


def _text(value: str) -> Text:
    return Text(visible(value))


def _short(default: str, limit: int = 60) -> str:
    """Return a default that fits into a table; "required" if there is none."""
    if not default:
        return "required"
    return default if len(default) <= limit else f"{default[: limit - 2]} …"
