"""The commands that train, compare, report and evaluate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

import contrail
from contrail.cli.dry_run import show_comparison, show_run
from contrail.cli.options import AsJson, DryRun, Quiet, plugins_of
from contrail.cli.output import outliving_readers
from contrail.cli.study import show_beside
from contrail.errors import ConfigError
from contrail.fitted_tables import Column, fitted
from contrail.names import visible
from contrail.reporting import read_formats, reporting


@outliving_readers()
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
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train over a stream and report forgetting.

    The same command goes on with a run that was interrupted.
    """
    if dry_run:
        show_run(stream, overrides or (), plugins_of(context), quiet)
        return
    try:
        result = contrail.run(
            stream, *(overrides or ()), plugins=plugins_of(context), out=out, quiet=quiet
        )
    except KeyboardInterrupt as interruption:
        from contrail.runs.directory import RunDirectory, default_directory

        directory = out or default_directory(stream, overrides or ())
        how = (
            f"goes on from the last checkpoint in {directory}"
            if RunDirectory(directory).checkpoints()
            else "begins anew, for there is no checkpoint yet"
        )
        print(f"\ninterrupted; the same command {how}", file=sys.stderr)
        raise typer.Exit(getattr(interruption, "exit_code", 130)) from None
    result.report()


@outliving_readers()
def compare(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            help="A stream file or a comparison's file, then keys to set; or finished runs, or "
            "studies.",
            metavar="FILE.YAML [KEY=VALUE]... | RUN RUN... | STUDY STUDY...",
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
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Compare strategies, orders and seeds.

    Or compare finished runs, or the verdicts of studies: name their directories.

    The same command goes on with a comparison that was interrupted.
    """
    first = Path(what[0])
    if contrail.Study.find(first, plugins_of(context)):
        if dry_run or any(item is not None for item in (strategies, orders, seeds, baseline, out)):
            raise ConfigError(f"{first} is a study: studies are compared without options.")
        show_beside([Path(name) for name in what])
        return
    # Only keys to set can follow a stream file, so a run that is mistyped is told as one.
    runs = first.is_dir() or (not first.is_file() and any("=" not in word for word in what[1:]))
    if dry_run and not runs:
        show_comparison(
            Path(what[0]),
            what[1:],
            plugins_of(context),
            share,
            quiet,
            strategies=strategies,
            orders=orders,
            seeds=seeds,
            baseline=baseline,
            jobs=jobs,
        )
        return
    try:
        comparison = contrail.compare(
            *([what] if runs else what),
            strategies=strategies,
            orders=orders,
            seeds=seeds,
            baseline=baseline,
            jobs=jobs,
            plugins=plugins_of(context),
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


def report(
    context: typer.Context,
    directories: Annotated[
        list[Path],
        typer.Argument(
            help="Directories of runs, comparisons or studies.", metavar="RUN|COMPARISON|STUDY..."
        ),
    ],
    full: Annotated[
        bool, typer.Option(help="Show all of a comparison: every metric, pairs, R by strategy.")
    ] = False,
    formats: Annotated[
        str, typer.Option("--figures", help="Formats of the figures: png, pdf, svg, or several.")
    ] = "png",
    show: Annotated[bool, typer.Option("--open", help="Show report.html in a browser.")] = False,
) -> None:
    """Show the reports of runs, comparisons and studies.

    The exit code is 1 if a report failed; the others are made all the same.
    """
    from contrail.comparison.launch import PLAN, RESULT

    failed = False
    with reporting(full, read_formats(formats)):
        for directory in directories:
            studies = contrail.Study.find(directory, plugins_of(context))
            for study in studies:
                failed |= bool(study.report())
                if show:
                    name = study.record["experiment"]
                    failed |= not _shown_in_browser(directory / f"{name}.html")
            if studies:
                continue
            compared = any((directory / name).is_file() for name in (RESULT, PLAN))
            found = contrail.Comparison if compared else contrail.Result
            failed |= bool(found.read(directory, plugins_of(context)).report())
            if show:
                failed |= not _shown_in_browser(directory / "report.html")
    if failed:
        raise typer.Exit(1)


def _shown_in_browser(page: Path) -> bool:
    """Show a page in the user's browser, if both are there."""
    import webbrowser

    if not page.is_file():
        print(f"there is no {page} to open", file=sys.stderr)
        return False
    if not webbrowser.open(page.resolve().as_uri()):
        print(f"no browser was found; open {page.resolve()} in one", file=sys.stderr)
        return False
    return True


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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a policy on environments, without training.

    A column of the policy's run keeps the run's settings; any other name is an environment with its
    default settings.
    """
    results = contrail.evaluate(
        policy,
        environments,
        plugins=plugins_of(context),
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
    metrics = [
        item
        for item in plugins_of(context).episode_metrics
        if any(item.name in result.metrics for result in results.values())
    ]
    columns = [Column("tasks", [str(len(result.scores)) for result in results.values()])]
    for item in metrics:
        values = [result.metrics.get(item.name) for result in results.values()]
        cells = ["–" if value is None else format(value, item.format) for value in values]
        columns.append(Column(item.about()["heading"], cells))
    console = Console(highlight=False)
    names = Column("environment", [visible(name) for name in results], left=True)
    console.print(fitted([names], columns, console.width))
    for name, result in results.items():
        if tasks is not None and len(result.scores) < tasks:
            print(f"{visible(name)} has no more than {len(result.scores)} test tasks.")
