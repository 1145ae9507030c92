"""The commands `environments` and `check`."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from contrail.cli.lists import show_entry
from contrail.cli.options import AsJson, plugins_of
from contrail.cli.output import show
from contrail.environment import SPLITS
from contrail.names import visible


def environments(
    context: typer.Context,
    more: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="Environments or plugin files, and settings, for example levels=[GoToLocal] "
            "max_turns=10. Default: all environments.",
            metavar="[NAME | PLUGIN.PY | KEY=VALUE]...",
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Show what players without a model reach.")
    ] = False,
    tasks: Annotated[int, typer.Option(min=1, help="Test tasks for --baselines, at most.")] = 32,
    adapter: Annotated[str, typer.Option(help="Through which --baselines are played.")] = "choose",
    search: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="WORDS", help="Find environments, and games of bridges, by all of these words."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the environments and their tasks.

    For environments that are named, the keys as well.

    With --baselines: the scores of random play, matching words, the best constant action and the
    expert.

    With --search: whatever can be played and has the words in its name, settings or description,
    as it is written in a stream file.
    """
    from contrail.cli.list_environments import catalogue, select

    plugins = plugins_of(context)
    selection = select(more or (), plugins)
    if search is not None:
        from contrail.cli.search import find, show_hits

        result = find(search, selection.makers)
        if as_json:
            print(json.dumps(dataclasses.asdict(result), indent=1))
        else:
            show_hits(search, result)
        return
    if baselines:
        from contrail.cli.baselines import measure_all, show_baselines

        found = measure_all(selection, plugins, adapter, tasks)
        if as_json:
            print(json.dumps([item.record() for item in found], indent=1))
        else:
            show_baselines(found)
        return
    entries = catalogue(plugins, selection.makers)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=1))
        return
    table = Table("environment", "train", "test", "actions", "expert", "extra", "difficulty")
    data = Table("environment", "data")
    for each in (table, data):
        each.box, each.pad_edge = None, False
        each.columns[0].no_wrap = True
    said = {None: "–", True: "yes", False: "no"}
    for entry in entries:
        table.add_row(
            Text(visible(entry.environment)),
            *(str(entry.tasks.get(split, "–")) for split in SPLITS),
            said[entry.actions],
            said[entry.expert],
            (entry.extra and "yes") or "–",
            Text(", ".join(map(visible, entry.difficulties)) or "–"),
        )
        # Some environments end `about_data` with their notes.
        notes = [note for note in entry.notes if note not in entry.about_data]
        about = entry.missing or "\n".join([entry.about_data or "–", *map(visible, notes)])
        data.add_row(Text(visible(entry.environment)), Text(about))
    extra = "\nAn extra has its environment's name: pip install 'contrail[NAME]'\n"
    show(table, Text(extra), data)
    if selection.named:
        for factory in selection.makers:
            show(Text())
            registered = factory.registered
            show_entry("environment", factory.name, registered, registered.value.Config)


def check(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            help="An environment, adapter, strategy, objective or tracker; or a plugin file, or "
            "the folder it is in.",
            metavar="NAME | PLUGIN.PY",
        ),
    ],
    more: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="Its settings, for example levels=[GoToLocal]; plugin files to load before.",
            metavar="[KEY=VALUE | PLUGIN.PY]...",
        ),
    ] = None,
    tasks: Annotated[
        int,
        typer.Option(min=1, help="Of an environment, at most so many of each split are played."),
    ] = 3,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="Seconds that one reset or step may take. Default: the environment's own limit.",
            show_default=False,
        ),
    ] = float("inf"),
    environment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="In which an adapter or a strategy is tried. Default: a small one."),
    ] = None,
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What to check, if several things have the name: strategy, …"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a plugin keeps the contract.

    An environment is played; an adapter, a strategy, an objective and a tracker are tried in small
    runs with the model tiny-random. The exit code is 1 if one does not keep the contract.
    """
    from contrail.cli.check import Options, check_named

    options = Options(tasks, timeout, environment, kind)
    reports = []
    for report in check_named(name, more or (), plugins_of(context), options):
        reports.append(report)
        if not as_json:
            title = Text(visible(f"{report.kind} {report.name}"))
            table = Table("check", "", "", title=title, title_justify="left")
            for finding in report.findings:
                passed = finding.state == "passed"
                note = f"{finding.what} {finding.note}" if passed else finding.note
                table.add_row(finding.check, finding.state, Text(note))
            show(table)
    if as_json:
        print(json.dumps([dataclasses.asdict(report) for report in reports], indent=1))
    if any(report.failed for report in reports):
        raise typer.Exit(1)
