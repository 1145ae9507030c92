"""`--dry-run`: what a run, a comparison or a study would cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

import contrail
from contrail.api import estimate_comparison
from contrail.cli.output import show
from contrail.names import visible
from contrail.registry.plugins import Plugins
from contrail.runs.estimate import Estimate, duration, measured, size, table


def show_run(stream: Path, overrides: Sequence[str], plugins: Plugins, quiet: bool) -> None:
    """Print what a run would cost."""
    found = contrail.estimate(stream, *overrides, plugins=plugins, quiet=quiet)
    parts = _table("part", "episodes measured", "of", "seconds", "times")
    for row in measured(found):
        parts.add_row(*map(Text, row))
    show(
        Text(visible(found.name), style="bold"),
        _lines(found),
        Text(),
        parts,
        Text("Nothing was written. The run itself is the same command without --dry-run."),
    )


def show_comparison(
    stream: Path,
    overrides: Sequence[str],
    plugins: Plugins,
    sharing: bool,
    quiet: bool,
    *,
    strategies: str | None,
    orders: str | None,
    seeds: str | None,
    baseline: str | None,
    jobs: int | None,
) -> None:
    """Print what a comparison would cost."""
    plan, costs = estimate_comparison(
        stream,
        *overrides,
        strategies=strategies,
        orders=orders,
        seeds=seeds,
        baseline=baseline,
        jobs=jobs,
        plugins=plugins,
        share=sharing,
        quiet=quiet,
    )
    rows = _table("strategy", "runs", "time of one", "processor time of all", "memory of one")
    for cost in costs:
        rows.add_row(
            Text(visible(cost.strategy)),
            str(cost.runs),
            duration(cost.one.seconds),
            duration(cost.cpu_seconds),
            size(cost.one.memory + cost.one.children),
        )
    seconds = sum(cost.seconds for cost in costs) / min(plan.jobs, len(plan.runs))
    most = max(cost.one.memory + cost.one.children for cost in costs)
    shared = "what runs have in common is computed once" if sharing else "nothing is shared"
    total = Text(
        f"{len(plan.runs)} runs, {plan.jobs} at a time: about {duration(seconds)}, and "
        f"{size(most * min(plan.jobs, len(plan.runs)))} of memory; {shared}."
    )
    show(rows, Text(), total, Text("Nothing was written."))


def show_study(
    experiment: str,
    file: str | None,
    overrides: Sequence[str],
    plugins: Plugins,
    quiet: bool,
    size_name: str | None,
    seeds: str | None,
    jobs: int | None,
) -> None:
    """Print what a study would cost."""
    from contrail.comparison.plan import read_options
    from contrail.studies.cost import estimate_study
    from contrail.studies.launch import StudyOptions

    read = read_options(None, None, seeds, None, jobs)
    found = estimate_study(
        experiment,
        None if file is None else Path(file),
        overrides,
        StudyOptions(size_name, read.seeds, read.jobs),
        plugins,
        lambda text: None if quiet else print(text, file=sys.stderr, flush=True),
    )
    warm = " The warm-up comes on top: it was not measured." if found.warmup else ""
    most = "" if found.exact else "at most "
    print(
        f"{found.runs} runs, {found.jobs} at a time: {found.updates:,} updates and "
        f"{most}{found.evaluations:,} evaluations of all environments; about "
        f"{duration(found.seconds)} ({duration(found.cpu_seconds)} of processor time), and "
        f"{size(found.memory)} of memory; what runs have in common is computed once.{warm}"
    )
    print("Nothing was written.")


def _lines(found: Estimate) -> Table:
    lines = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column()
    for heading, text in table(found):
        lines.add_row(heading, Text(visible(text)))
    return lines


def _table(*headings: str) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="right" if index else "left")
    return made
