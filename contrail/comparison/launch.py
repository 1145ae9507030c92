"""Carries out a comparison: plans it, makes the missing runs, and writes the summary."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contrail.comparison import share
from contrail.comparison.cost import Cost, costs
from contrail.comparison.gather import check_comparable, read_row, read_rows
from contrail.comparison.plan import ComparisonOptions, Plan, PlannedRun, read_plan
from contrail.comparison.processes import Workers
from contrail.comparison.schedule import Schedule, attempt
from contrail.comparison.summary import summarise
from contrail.config import Source, to_yaml
from contrail.errors import ConfigError, ContrailError
from contrail.files import write_atomically
from contrail.registry.plugins import Plugins
from contrail.runs.directory import RunDirectory, default_directory
from contrail.runs.estimate import Estimate, Known
from contrail.runs.launch import check_same, estimate_stream

PLAN = "plan.json"
RESULT = "compare.json"


@dataclass(frozen=True)
class Outcome:
    """The result of a comparison: its directory, its content, and the failed runs with their
    errors."""

    directory: Path
    comparison: dict[str, Any]
    failed: dict[str, str]


def compare_stream(
    origin: Path | Source,
    overrides: Sequence[str],
    options: ComparisonOptions,
    plugins: Plugins,
    *,
    out: Path | None,
    sharing: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Run a stream under several strategies, orders and seeds, and summarise it.

    The same call continues interrupted runs and leaves finished ones alone. Strategies, orders and
    seeds may be added later.

    Raises:
        ContrailError: the plan is impossible, or not that of the directory; or no run succeeded.
    """
    source = origin if isinstance(origin, Source) else Source(origin)
    plan = read_plan(source, overrides, options, plugins)
    if out is None:
        assert source.path is not None
        default = default_directory(source.path, overrides)
        out = default.with_name(f"{default.name}_compare")
    directory = out.resolve()
    files = RunDirectory(directory)
    if not (directory / PLAN).is_file():
        _check_free(directory)
    _check_plan(directory, plan, plugins)
    with Workers() as workers:
        return _carry_out(plan, files, plugins, workers, sharing=sharing, say=say)


def estimate_comparison(
    origin: Path | Source,
    overrides: Sequence[str],
    options: ComparisonOptions,
    plugins: Plugins,
    *,
    sharing: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Plan, list[Cost]]:
    """Return the plan of a comparison and what its runs would cost, by strategy. Nothing is
    written.

    Raises:
        ContrailError: the plan, or a run, is impossible.
    """
    plan = read_plan(origin, overrides, options, plugins)
    measured: dict[str, Estimate] = {}
    known: dict[str, Known] = {}  # strategies have most of their parts in common
    with tempfile.TemporaryDirectory(prefix="contrail-") as scratch:
        for number, run in enumerate(plan.runs):
            if run.strategy in measured:
                continue
            say(f"{run.strategy}: measuring a few steps …")
            path = Path(scratch, f"{number}.yaml")
            path.write_text(to_yaml(run.config))
            try:
                measured[run.strategy] = estimate_stream(
                    path, plugins=plugins, quiet=True, known=known
                )
            except ContrailError as error:
                raise ContrailError(_of_strategy(str(error), path, run)) from error
    return plan, costs(plan, measured, plugins, sharing=sharing)


def _of_strategy(text: str, path: Path, run: PlannedRun) -> str:
    """Return an error with a run's strategy in place of its file, which says nothing to anyone."""
    text = re.sub(rf"{re.escape(str(path))}(:\d+)?: ", lambda found: f"{run.strategy}: ", text)
    return text.replace(str(path), repr(run.strategy))


def _carry_out(
    plan: Plan,
    files: RunDirectory,
    plugins: Plugins,
    workers: Workers,
    *,
    sharing: bool,
    say: Callable[[str], None],
) -> Outcome:
    """Make the missing runs, and write the summary."""
    directory = files.path
    attempt_runs(plan.runs, directory, plugins, workers)
    with files.locked():
        _check_plan(directory, plan, plugins)  # another process may have made one meanwhile
        write_atomically(directory / PLAN, (json.dumps(_record(plan), indent=1) + "\n").encode())
        schedule = Schedule(
            plan.runs, directory, plugins, workers, jobs=plan.jobs, sharing=sharing, say=say
        )
        schedule.go()
        failed = {str(job.run): job.error for job in schedule.jobs if job.error}
        rows = [
            read_row(job.files, job.run.strategy, job.run.order)
            for job in schedule.jobs
            if job.finished
        ]
        if not rows:
            name, error = next(iter(failed.items()))
            raise ContrailError(f"all {len(failed)} runs failed. The first, {name}: {error}")
        check_comparable(rows, meant=plan.differs)
        comparison = summarise(
            directory.name, rows, plan.strategies, plan.orders, plan.seeds, plan.baseline
        )
        comparison["failed"] = failed
        comparison["shared"] = {
            "cpu_seconds": sum(item.cpu_seconds for item in schedule.saved),
            "evaluations": sum(item.evaluations for item in schedule.saved),
            "updates": sum(item.updates for item in schedule.saved),
            "runs": [asdict(item) for item in schedule.saved],
        }
        _write(directory, comparison)
    return Outcome(directory, comparison, failed)


def compare_runs(
    directories: Sequence[Path], options: ComparisonOptions, *, out: Path | None
) -> Outcome:
    """Summarise runs that exist.

    Raises:
        ContrailError: a run has not ended, or they are not comparable.
    """
    for flag in ("strategies", "orders", "seeds", "jobs"):
        if getattr(options, flag) is not None:
            raise ConfigError(f"--{flag}: these are finished runs. Give a stream file to run more.")
    if len(directories) < 2:
        raise ConfigError(f"{directories[0]}: a comparison takes two runs or more.")
    baseline = options.baseline
    rows = read_rows(directories)
    labels = list(dict.fromkeys(row.strategy for row in rows))
    if baseline is not None and baseline not in labels:
        raise ConfigError(f"--baseline: {baseline!r} is not compared: {', '.join(labels)}.")
    default = "sequential" if "sequential" in labels else labels[0]
    directory = (out or Path("runs/comparison")).resolve()
    files = RunDirectory(directory)
    if (directory / PLAN).is_file():
        raise ConfigError(f"--out {directory}: another comparison is kept there. Choose another.")
    if not (directory / RESULT).is_file():
        _check_free(directory)
    comparison = summarise(
        directory.name,
        rows,
        labels,
        list(dict.fromkeys(row.order for row in rows)),
        sorted({row.seed for row in rows}),
        baseline or default,
    )
    comparison |= {"failed": {}, "shared": None}
    with files.locked():
        _write(directory, comparison)
    return Outcome(directory, comparison, {})


def read_comparison(directory: Path) -> dict[str, Any]:
    """Return the content of compare.json; of an interrupted comparison, that of the runs which have
    ended, with the names of the others under `unfinished`.

    Raises:
        ContrailError: it cannot be read, or no run has ended.
    """
    plan = _read_json(directory / PLAN) if (directory / PLAN).is_file() else {"runs": []}
    if (directory / RESULT).is_file():
        comparison = _read_json(directory / RESULT)
        summarised = len(comparison["rows"]) + len(comparison["failed"])
        if summarised >= len(plan["runs"]) or "planned" not in plan:
            return comparison
    if plan["runs"] and all("/" in name for name in plan["runs"]):  # those of a study lie deeper
        raise ContrailError(
            f"{directory} is a study without results. The command that began it goes on with it."
        )
    if "planned" not in plan:
        raise ContrailError(f"{directory / RESULT} does not exist: the comparison has not ended.")
    rows, unfinished = [], []
    for name, (strategy, order, _) in plan["planned"].items():
        files = RunDirectory(directory / name)
        if files.result.is_file():
            rows.append(read_row(files, strategy, order))
        else:
            unfinished.append(name)
    if not rows:
        raise ContrailError(
            f"{directory}: none of the {len(unfinished)} runs has ended. The command that began "
            "the comparison goes on with it."
        )
    check_comparable(rows, meant=plan["differs"])
    orders = [tuple(order) for order in plan["orders"]]
    comparison = summarise(
        directory.name, rows, plan["strategies"], orders, plan["seeds"], plan["baseline"]
    )
    return comparison | {"failed": {}, "shared": None, "unfinished": unfinished}


def _record(plan: Plan) -> dict[str, Any]:
    """Return the content of plan.json."""
    return {
        "runs": [run.directory for run in plan.runs],
        "planned": {run.directory: [run.strategy, run.order, run.seed] for run in plan.runs},
        "strategies": plan.strategies,
        "orders": plan.orders,
        "seeds": plan.seeds,
        "baseline": plan.baseline,
        "differs": sorted(plan.differs),
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ContrailError(f"{path} cannot be read: {error}") from error
    return content


def _check_free(directory: Path) -> None:
    files = RunDirectory(directory)
    if files.config.is_file():
        raise ConfigError(f"--out {directory}: a run is kept there. Choose another.")
    files.check_writable()


def _check_plan(directory: Path, plan: Plan, plugins: Plugins) -> None:
    """Refuse a plan that is not the directory's, nor adds to it."""
    if not (directory / PLAN).is_file():
        return
    try:
        known = json.loads((directory / PLAN).read_text())["runs"]
    except (OSError, ValueError, KeyError) as error:
        raise ContrailError(f"{directory / PLAN} cannot be read: {error!r}") from error
    planned = {run.directory for run in plan.runs}
    bypassed = [name for name in known if name not in planned]
    if bypassed:
        more = f", and {len(bypassed) - 1} more" if len(bypassed) > 1 else ""
        raise ConfigError(
            f"{directory} holds another comparison, with runs that are not part of this one: "
            f"{bypassed[0]}{more}. More strategies, orders and seeds may be added, none taken "
            "away. Choose another --out."
        )
    for run in plan.runs:
        if check_same(RunDirectory(directory / run.directory), run.config, plugins):
            raise ConfigError(
                f"{directory}: {run.directory} was made with other `updates`, stages or "
                "environments. A comparison's runs are not extended: choose another --out."
            )


def attempt_runs(
    runs: Sequence[PlannedRun], directory: Path, plugins: Plugins, workers: Workers
) -> None:
    """Try one run of each strategy that has runs to be made, before any of them starts.

    Raises:
        ContrailError: a run would be refused, or could not be compared with those that are there.
    """
    left: dict[str, PlannedRun] = {}
    for run in runs:
        if not RunDirectory(directory / run.directory).result.is_file():
            left.setdefault(run.strategy, run)
    if not left:
        return
    share.check_tasks(next(iter(left.values())), runs, directory, plugins)
    with tempfile.TemporaryDirectory(prefix="contrail-") as scratch:
        tries = {Path(scratch, f"{number}.yaml"): run for number, run in enumerate(left.values())}
        for path, run in tries.items():
            path.write_text(to_yaml(run.config))
        try:
            attempt(list(tries), workers)
        except ContrailError as error:
            text = str(error)
            for path, run in tries.items():
                text = _of_strategy(text, path, run)
            raise ContrailError(text) from error


def _write(directory: Path, comparison: dict[str, Any]) -> None:
    write_atomically(directory / RESULT, (json.dumps(comparison, indent=1) + "\n").encode())
