"""Makes the runs of a plan in parallel processes; runs reuse what others have computed."""

from __future__ import annotations

import math
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contrail.comparison import share
from contrail.comparison.plan import PlannedRun
from contrail.comparison.processes import WorkerProcess, Workers, end
from contrail.config import load, to_yaml
from contrail.errors import ContrailError
from contrail.files import write_atomically
from contrail.registry.observers import failure_text, read_failures
from contrail.registry.plugins import Plugins
from contrail.runs.directory import DamagedError, RunDirectory
from contrail.runs.sources import edited, source_files

SHARED = "shared.json"
TABLE = "result.csv"  # a report that every run has
POLL = 0.2  # seconds
GRACE = 30.0  # seconds that a process has to end after it has been told to

Say = Callable[[str], None]


@dataclass
class RowSource:
    """A run's rows of R that are on disk: up to `row`, one key each."""

    files: RunDirectory
    keys: Sequence[str | None]
    code: Mapping[str, str]
    """The versions of the users' code now."""
    row: int = field(init=False)
    edited: Sequence[str] = field(init=False)
    """The files of that code that have been edited since it was made; then nobody reuses it."""
    whole: float = field(init=False, default=math.inf)
    """The last row that is not known to be damaged."""

    def __post_init__(self) -> None:
        self.row = share.last_row(self.files)
        self.edited = edited(self.files.newest_state().get("source_files", {}), self.code)

    def common(self, other: RowSource, rows: int) -> int:
        """Return the last row, of the first `rows` after the base, that is the same in both; or
        -1."""
        shared = [
            row
            for row in range(min(rows + 1, len(self.keys), len(other.keys)))
            if self.keys[row] is not None and self.keys[row] == other.keys[row]
        ]
        return max(shared, default=-1)


@dataclass(kw_only=True)
class ScheduledRun(RowSource):
    """A planned run and its outcome; `error` is its message if it failed."""

    run: PlannedRun
    process: WorkerProcess | None = None
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return self.files.result.is_file()

    @property
    def waiting(self) -> bool:
        """Whether it is still to be started."""
        return self.process is None and not self.finished and not self.error

    @property
    def log(self) -> Path:
        """The file with the output of the process."""
        return self.files.path.with_name(f"{self.files.path.name}.log")


class Schedule:
    """All runs of a comparison in `directory`, with at most `jobs` processes at a time.

    With `sharing`, the rows of runs that the directory has from elsewhere are reused too: those of
    a study's other experiments, or of strategies that are no longer compared.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        directory: Path,
        plugins: Plugins,
        workers: Workers,
        *,
        jobs: int,
        sharing: bool,
        say: Say,
    ) -> None:
        self._directory = directory
        self._workers = workers
        self._count = jobs
        self._say = say
        self._saved_in = directory / SHARED
        self._warned: set[str] = set()
        self.saved = self._recorded()
        self.jobs = [
            ScheduledRun(
                run=run,
                files=RunDirectory(directory / run.directory),
                keys=share.row_keys(run.config, plugins) if sharing else (),
                code=source_files(run.config, plugins),
            )
            for run in runs
        ]
        self._kept = list(self._others(plugins)) if sharing else []

    def _recorded(self) -> list[share.Saved]:
        try:
            return share.recorded(self._saved_in)
        except ContrailError as error:
            self._say(f"warning: {error}")
            share.record(self._saved_in, [])
            return []

    def _others(self, plugins: Plugins) -> Iterator[RowSource]:
        """Yield the directory's runs that are not of this plan."""
        planned = {job.files.path for job in self.jobs}
        for path in sorted(self._directory.iterdir()):
            files = RunDirectory(path)
            if path in planned or share.last_row(files) < 0:
                continue
            try:
                config, known = load(files.config, (), plugins)
                yield RowSource(files, share.row_keys(config, known), source_files(config, known))
            except ContrailError as error:
                self._say(f"{path.name}: cannot be read, and is not reused: {error}")

    def go(self) -> None:
        """Make the missing runs. A run that fails does not stop the others."""
        for name in dict.fromkeys(name for job in self.jobs for name in job.edited):
            made = sum(name in job.edited for job in self.jobs)
            runs = "1 run" if made == 1 else f"{made} runs"
            self._say(
                f"warning: {name} has been edited since {runs} began. To use one version only, "
                "choose another --out."
            )
        done = sum(job.finished for job in self.jobs)
        if done:
            self._say(f"{done} of {len(self.jobs)} runs are finished already")
        for job in self.jobs:
            if job.finished and not (job.files.path / TABLE).is_file():
                path = job.files.path
                self._say(f"{job.run}: has no reports; `contrail report {path}` makes them")
        try:
            while any(job.waiting or job.process for job in self.jobs):
                self._start()
                time.sleep(POLL)
                for job in self.jobs:
                    self._look(job)
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        """Start runs; a run waits for another that is about to compute rows that it can reuse."""
        running = [job for job in self.jobs if job.process]
        for job in self.jobs:
            if len(running) >= self._count:
                return
            if not job.waiting:
                continue
            source, row = self._best(job)
            soon = max((job.common(other, len(other.keys)) for other in running), default=-1)
            if soon > max(row, job.row):
                continue
            try:
                self._launch(job, source, row)
            except DamagedError as error:  # of the source
                assert source is not None
                source.whole = row - 1
                text = f"warning: {error} It is not reused."
                if text not in self._warned:
                    self._warned.add(text)
                    self._say(text)
                return
            except (ContrailError, OSError) as error:
                job.error = str(error)
                self._say(f"{job.run}: failed: {job.error}")
                continue
            running.append(job)

    def _best(self, job: ScheduledRun) -> tuple[RowSource | None, int]:
        """Return the run that has most of what `job` would compute, and the last row that both
        have."""
        others = [
            (job.common(other, int(min(other.row, other.whole))), other)
            for other in (*self.jobs, *self._kept)
            if other is not job and not other.edited
        ]
        row, source = max(others, key=lambda item: item[0], default=(-1, None))
        return (source, row) if row > job.row else (None, job.row)

    def _launch(self, job: ScheduledRun, source: RowSource | None, row: int) -> None:
        directory = job.files.path
        if not job.files.config.is_file():
            directory.mkdir(exist_ok=True)
            write_atomically(job.files.config, to_yaml(job.run.config).encode())
        told = "goes on" if job.row >= 0 else "starts"
        if source is not None:
            share.take_over(job.run, job.files, source.files, row, self._record)
            what = "the base evaluation" if row == 0 else f"{row} of {len(job.keys) - 1} stages"
            told = f"{told} with {what} of {source.files.path.name}"
            job.row = share.last_row(job.files)
        with job.log.open("ab") as log:
            job.process = self._workers.start(["run", str(job.files.config), str(directory)], log)
        self._say(f"{job.run}: {told}")

    def _record(self, saved: share.Saved) -> None:
        """Record what a run is about to take over."""
        # What it was given from this row on is gone, or was never there: a kill came between.
        before = [item.without(saved) for item in self.saved]
        self.saved = [*(item for item in before if item.rows), saved]
        share.record(self._saved_in, self.saved)

    def _look(self, job: ScheduledRun) -> None:
        """See how far a process is, and whether it has ended."""
        if job.process is None:
            return
        code = job.process.poll()
        row = share.last_row(job.files)
        config = job.run.config
        stages = len(config.stream) + (config.warmup is not None)
        if row > job.row and code is None:
            after = "base model evaluated" if row == 0 else f"{row} of at most {stages} stages done"
            self._say(f"{job.run}: {after}")
        job.row = row
        if code is None:
            return
        job.process = None
        job.whole = math.inf  # it has made again what was damaged
        if code == 0 and job.finished:
            left = sum(not other.finished for other in self.jobs)
            self._say(f"{job.run}: finished; {left} of {len(self.jobs)} runs left")
            for failure in read_failures(job.files.path):
                text = failure_text(failure.plugin, failure.hook, failure.error)
                self._say(f"{job.run}: warning: {text}")
            return
        reason = f"{_reason(job.log.read_text(errors='replace'), code)} [{job.log}]"
        if job.finished:  # in its reports
            self._say(f"{job.run}: finished. warning: its reports were not made: {reason}")
            return
        job.error = reason
        self._say(f"{job.run}: failed: {job.error}")

    def _stop(self) -> None:
        """End all processes; each leaves its last checkpoint to go on from."""
        end([job.process for job in self.jobs if job.process], GRACE)


def attempt(configs: Sequence[Path], workers: Workers) -> None:
    """Have a process make all that the runs would make before they play.

    Raises:
        ContrailError: one of them would be refused.
    """
    with tempfile.TemporaryFile() as output:
        process = workers.start(["try", *map(str, configs)], output)
        try:
            code = process.wait()
        finally:
            end([process], GRACE)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if code:
        raise ContrailError(_reason(said, code))


def _reason(said: str, code: int) -> str:
    """Why a process ended: its error for humans, or the last thing it said."""
    lines = [line for line in said.splitlines() if line.strip()]
    told = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if code == 2 and told:
        return "\n".join(lines[told[-1] :]).removeprefix("error: ")
    last = lines[-1] if lines else "it said nothing"
    if code < 0:
        name = signal.Signals(-code).name
        why = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"it was ended by {name}{why}. The last it said: {last}"
    return f"{last} (exit code {code})"
