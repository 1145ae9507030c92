"""The command line. It only reads arguments and shows results; the work is done elsewhere."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
import typer.core
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

import contrail
from contrail.environment import SPLITS
from contrail.errors import ContrailError
from contrail.names import visible
from contrail.registry import Plugins, load_plugins
from contrail.runs.interrupt import Interruption, ending_at_once


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command. One that is interrupted says so, without a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            print("\ninterrupted", file=sys.stderr)
            raise typer.Exit(getattr(interruption, "exit_code", 130)) from None


cli = typer.Typer(
    cls=_Commands,
    help="What does training an LLM agent on a new environment do to the others?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing while it works.")]


def _show_version(value: bool) -> None:
    if value:
        print(f"contrail {contrail.__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def _plugins(context: typer.Context) -> Plugins:
    plugins: Plugins = context.obj
    return plugins


@cli.command()
def run(
    context: typer.Context,
    stream: Annotated[Path, typer.Argument(help="The stream file.", metavar="STREAM.YAML")],
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045 (Typer reads it at run time)
        typer.Argument(help="Keys to set, for example seed=1.", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The run directory. Default: runs/NAME."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train over a stream of environments, and report transfer and forgetting.

    The same command goes on with a run that was interrupted.
    """
    try:
        result = contrail.run(
            stream, *(overrides or ()), plugins=_plugins(context), out=out, quiet=quiet
        )
    except KeyboardInterrupt as interruption:
        from contrail.runs.directory import default_directory

        directory = out or default_directory(stream, overrides or ())
        print(
            f"\ninterrupted; the same command goes on from the last checkpoint in {directory}",
            file=sys.stderr,
        )
        raise typer.Exit(getattr(interruption, "exit_code", 130)) from None
    result.report()


@cli.command()
def compare(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            help="A stream file or a comparison's file, then keys to set; or finished runs.",
            metavar="FILE.YAML [KEY=VALUE]... | RUN RUN...",
        ),
    ],
    strategies: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For example sequential,replay,[replay,kl]."),
    ] = None,
    orders: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of the stages: given, all, or how many. Default: given."),
    ] = None,
    seeds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For example 0,1,2. Default: the stream's."),
    ] = None,
    baseline: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What differences are taken to. Default: sequential, or the first."),
    ] = None,
    jobs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Processes at a time. Default: 1."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The comparison's directory. Default: runs/NAME_compare."),
    ] = None,
    share: Annotated[bool, typer.Option(help="Compute once what runs begin with alike.")] = True,
    quiet: Quiet = False,
) -> None:
    """Compare strategies over orders and seeds, or runs that there are.

    The same command goes on with a comparison that was interrupted.
    """
    runs = Path(what[0]).is_dir()
    try:
        comparison = contrail.compare(
            *([what] if runs else what),
            strategies=strategies,
            orders=orders,
            seeds=seeds,
            baseline=baseline,
            jobs=jobs,
            plugins=_plugins(context),
            out=out,
            share=share,
            quiet=quiet,
        )
    except KeyboardInterrupt as interruption:
        print("\ninterrupted; the same command goes on", file=sys.stderr)
        raise typer.Exit(getattr(interruption, "exit_code", 130)) from None
    comparison.report()
    for name, error in comparison.failed.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    if comparison.failed:
        print("The same command tries them again.", file=sys.stderr)
        raise typer.Exit(1)


@cli.command()
def report(
    context: typer.Context,
    directory: Annotated[
        Path, typer.Argument(help="The directory of a run or a comparison.", metavar="RUN")
    ],
) -> None:
    """Show the report of a finished run, or of a comparison, again."""
    from contrail.comparison.launch import RESULT

    found = contrail.Comparison if (directory / RESULT).is_file() else contrail.Result
    found.read(directory, _plugins(context)).report()


@cli.command("eval")
def evaluate(
    context: typer.Context,
    policy: Annotated[
        str,
        typer.Argument(help="A run, a checkpoint, a PEFT adapter, or a model.", metavar="POLICY"),
    ],
    environments: Annotated[list[str], typer.Argument(metavar="ENVIRONMENT...")],
    adapter: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="How the model acts. Default: as in its run, or choose."),
    ] = None,
    tasks: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Test tasks of each environment. Default: as in its run, or 32."),
    ] = None,
    samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Episodes of each task. Default: as in its run, or 1."),
    ] = None,
    greedy: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(help="Take the likeliest action. Default: as in its run, or not."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a policy on environments, without training.

    The columns of a run are known with the run's settings; other names stand for environments with
    their default settings.
    """
    results = contrail.evaluate(
        policy,
        environments,
        plugins=_plugins(context),
        adapter=adapter,
        tasks=tasks,
        samples=samples,
        greedy=greedy,
        threads=threads,
        quiet=quiet,
    )
    if as_json:
        print(json.dumps({name: result.summary() for name, result in results.items()}, indent=1))
        return
    metrics = _plugins(context).episode_metrics
    table = Table(
        "environment", "tasks", *(Column(Text(item.about()["heading"])) for item in metrics)
    )
    for name, result in results.items():
        values = [result.metrics[item.name] for item in metrics]
        cells = [
            "–" if value is None else format(value, item.format)
            for item, value in zip(metrics, values, strict=True)
        ]
        table.add_row(Text(visible(name)), str(len(result.scores)), *cells)
    Console().print(table)


@cli.command("plugins")
def list_plugins(context: typer.Context) -> None:
    """List the plugins, their versions, and the hooks each implements."""
    plugins = _plugins(context)
    table = Table("plugin", "version", "from", "registers", "hooks")
    for info in plugins.info():
        hooks = ", ".join(hook.removeprefix("contrail_") for hook in info.hooks)
        registers = ", ".join(plugins.registered_by(info.name))
        cells = (info.name, info.version, info.source, registers, hooks)
        table.add_row(*(Text(visible(cell)) for cell in cells))
    Console().print(table)


@cli.command()
def play(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(help="An environment, or a plugin file.")],
    task: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The task's id. Default: the first."),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    expert: Annotated[bool, typer.Option(help="Watch the expert play.")] = False,
) -> None:
    """Play an environment yourself."""
    from contrail.cli.play import play_in_terminal

    play_in_terminal(environment, _plugins(context), task_id=task, split=split, expert=expert)


@cli.command()
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the environments: their tasks, and what each has and needs; or, with --baselines, what
    random play, matching words, the best constant action and the expert reach."""
    from contrail.cli.list_environments import catalogue, select

    plugins = _plugins(context)
    selection = select(more or (), plugins)
    if baselines:
        from contrail.cli.baselines import measure_all, show

        found = measure_all(selection, plugins, adapter, tasks)
        if as_json:
            print(json.dumps([item.record() for item in found], indent=1))
        else:
            show(found)
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
        about = Text(entry.missing or entry.about_data or "–")
        data.add_row(Text(visible(entry.environment)), about)
    console = Console()
    console.print(table)
    console.print("\nAn extra has its environment's name: pip install 'contrail\\[NAME]'\n")
    console.print(data)


@cli.command()
def check(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(help="An environment, or a plugin file.")],
    more: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            help="Its settings, for example levels=[GoToLocal]; plugin files to load before.",
            metavar="[KEY=VALUE | PLUGIN.PY]...",
        ),
    ] = None,
    tasks: Annotated[
        int, typer.Option(min=1, help="At most so many of each split are played.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that an environment keeps the contract. Exit code 1: it does not."""
    from contrail.cli.check import check_named

    reports = check_named(environment, more or (), _plugins(context), tasks)
    if as_json:
        print(json.dumps([dataclasses.asdict(report) for report in reports], indent=1))
    else:
        for report in reports:
            title = Text(visible(report.environment))
            table = Table("check", "", "", title=title, title_justify="left")
            for finding in report.findings:
                passed = finding.state == "passed"
                note = f"{finding.what} {finding.note}" if passed else finding.note
                table.add_row(finding.check, finding.state, Text(note))
            Console().print(table)
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def main() -> None:
    """The entry point: errors for humans end with one message and exit code 2."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of the libraries; they are for developers
    try:
        with ending_at_once("interrupted; nothing had begun"):
            plugins = load_plugins()
            plugins.hook.contrail_commands(cli=cli)
        with Interruption().handling():
            cli(obj=plugins)
    except ContrailError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
