"""Carries out a study: makes the missing runs, and writes what they show."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrail.comparison.launch import PLAN, attempt_runs
from contrail.comparison.plan import PlannedRun
from contrail.comparison.processes import Workers
from contrail.comparison.schedule import SHARED, Schedule
from contrail.comparison.share import recorded
from contrail.config import Source
from contrail.errors import ConfigError, ContrailError
from contrail.files import write_atomically
from contrail.registry.plugins import Plugins
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import check_same
from contrail.studies.design import EXPERIMENTS, Key
from contrail.studies.evidence import Evidence
from contrail.studies.plan import ALL, RUNS, StudyPlan, read_study, size_file
from contrail.studies.summary import summarise


@dataclass(frozen=True)
class StudyOptions:
    """The options of a study; None means: as in the file, or the default."""

    size: str | None = None
    seeds: Sequence[int] | None = None
    jobs: int | None = None


@dataclass(frozen=True)
class StudyOutcome:
    """The result of a study: its directory, the content of its JSON file, and failed runs."""

    directory: Path
    study: dict[str, Any]
    failed: dict[str, str]


def study_file(origin: Path | Source | None, options: StudyOptions) -> Path | Source:
    """Return the study's file: the given one, or that of a size.

    Raises:
        ConfigError: there is no such size, or both are given.
    """
    if origin is not None and options.size is not None:
        raise ConfigError("--size: a file has its own size. Leave one of the two away.")
    return size_file(options.size or "smoke") if origin is None else origin


def carry_out(
    experiment: str,
    origin: Path | Source | None,
    overrides: Sequence[str],
    options: StudyOptions,
    plugins: Plugins,
    *,
    out: Path | None,
    say: Callable[[str], None] = lambda text: None,
) -> StudyOutcome:
    """Make the runs of an experiment, or of all, judge the claims, and write EXPERIMENT.json.

    The same call goes on where it was interrupted. All experiments of one directory share their
    runs.

    Args:
        experiment: within, transfer, sequence, mixture, interface or all.
        origin: the study's file; None for one of the sizes.
        overrides: `key=value` each.
        options: the options.
        plugins: the loaded ones.
        out: the study's directory; by default one under runs/, named after the file or the size.
        say: shows a line of progress.

    Raises:
        ContrailError: something the user can put right; or no run has succeeded.
    """
    origin = study_file(origin, options)
    name = _stem(origin)
    directory = (out or Path("runs") / f"study_{name}").resolve()
    files = RunDirectory(directory)
    if files.config.is_file():
        raise ConfigError(f"--out {directory}: a run is kept there. Choose another.")
    if not (directory / RUNS).is_dir():
        files.check_writable()

    def plan() -> StudyPlan:
        source = Source(origin) if isinstance(origin, Path) else copy.deepcopy(origin)
        return read_study(
            experiment,
            source,
            overrides,
            plugins,
            seeds=options.seeds,
            jobs=options.jobs,
            out=directory,
        )

    planned = plan()
    runs_in = directory / RUNS
    runs_in.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    with files.locked(), Workers() as workers:
        runs = _runs(planned)
        named = [f"{RUNS}/{run.directory}" for run in (*planned.warm, *runs)]
        _write(directory / PLAN, json.dumps({"runs": named}, indent=1))  # for `contrail watch`
        if planned.warm:
            failed |= _make(planned.warm, planned, runs_in, plugins, workers, say)
            planned = plan()  # the others begin with what these have made
            warm_seeds = _warm_results(planned, runs_in)
            runs = [run for run in _runs(planned) if run.seed in warm_seeds]
        failed |= _make(runs, planned, runs_in, plugins, workers, say)
        results = _results(planned, runs_in)
        if not any(results.values()):
            which, error = next(iter(failed.items()))
            raise ContrailError(f"all {len(failed)} runs failed. The first, {which}: {error}")
        evidence = Evidence(planned.subject, results, planned.seeds, planned.checking)
        warm = _warm_results(planned, runs_in)
        study = summarise(directory.name, planned, evidence, warm) | {
            "cpu_seconds": _cpu_seconds(planned, results, warm, runs_in),
            "failed": failed,
        }
        _write(directory / f"{experiment}.json", json.dumps(study, indent=1))
    return StudyOutcome(directory, study, failed)


def read_studies(directory: Path) -> dict[Path, dict[str, Any]]:
    """Return the JSON files of a study's directory, in the experiments' order, with their content.

    Raises:
        ContrailError: one cannot be read.
    """
    if not (directory / RUNS).is_dir():
        return {}
    found = {}
    for name in (*EXPERIMENTS, ALL):
        path = directory / f"{name}.json"
        if path.is_file():
            try:
                found[path] = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise ContrailError(f"{path} cannot be read: {error}") from error
    return found


def _runs(plan: StudyPlan) -> list[PlannedRun]:
    """Return the runs, seed by seed, those of one stage first: the others share it."""
    runs = [run for of_seeds in plan.runs.values() for run in of_seeds.values()]
    return sorted(runs, key=lambda run: (plan.seeds.index(run.seed), len(run.order)))


def _make(
    runs: Sequence[PlannedRun],
    plan: StudyPlan,
    directory: Path,
    plugins: Plugins,
    workers: Workers,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Make the runs that are missing; return the errors of those that failed."""
    for run in runs:
        files = RunDirectory(directory / run.directory)
        try:
            extended = check_same(files, run.config, plugins)
        except ConfigError as error:
            raise ConfigError(
                f"--out {directory.parent}: a run there is of another study: {error}"
            ) from error
        if extended:  # its result would be that of the run as it was
            raise ConfigError(
                f"--out {directory.parent}: {run.directory} was made with other `updates` or "
                "environments. Choose another --out."
            )
    attempt_runs(runs, directory, plugins, workers)
    schedule = Schedule(runs, directory, plugins, workers, jobs=plan.jobs, sharing=True, say=say)
    schedule.go()
    return {str(job.run): job.error for job in schedule.jobs if job.error}


def _results(plan: StudyPlan, directory: Path) -> dict[Key, dict[int, dict[str, Any]]]:
    """Return the content of result.json of the runs that have ended."""
    found: dict[Key, dict[int, dict[str, Any]]] = {}
    for key, of_seeds in plan.runs.items():
        for seed, run in of_seeds.items():
            files = RunDirectory(directory / run.directory)
            if files.result.is_file():
                found.setdefault(key, {})[seed] = files.read_result()
    return found


def _warm_results(plan: StudyPlan, directory: Path) -> dict[int, dict[str, Any]]:
    files = {run.seed: RunDirectory(directory / run.directory) for run in plan.warm}
    return {seed: item.read_result() for seed, item in files.items() if item.result.is_file()}


def _cpu_seconds(
    plan: StudyPlan,
    results: Mapping[Key, Mapping[int, Mapping[str, Any]]],
    warm: Mapping[int, Mapping[str, Any]],
    directory: Path,
) -> float:
    """Return what the runs have cost; what they share is counted once."""
    every = [*warm.values(), *(item for of_seeds in results.values() for item in of_seeds.values())]
    planned = {run.directory for of_seeds in plan.runs.values() for run in of_seeds.values()}
    saved = [item for item in recorded(directory / SHARED) if item.run in planned]
    spent = sum(result["budget"]["cpu_seconds"] for result in every)
    return float(spent - sum(item.cpu_seconds for item in saved))


def _stem(origin: Path | Source) -> str:
    path = origin if isinstance(origin, Path) else origin.path
    return "study" if path is None else path.stem


def _write(path: Path, text: str) -> None:
    write_atomically(path, (text.rstrip() + "\n").encode())
