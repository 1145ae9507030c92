"""What a study will cost: one run over all environments is measured, and the runs are added up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contrail.comparison.share import row_keys
from contrail.config import Source, to_yaml
from contrail.registry.plugins import Plugins
from contrail.runs.estimate import Estimate
from contrail.runs.launch import estimate_stream
from contrail.studies.launch import StudyOptions, study_file
from contrail.studies.plan import StudyPlan, read_study


@dataclass(frozen=True)
class StudyCost:
    """What an experiment, or all, will cost."""

    name: str
    runs: int
    updates: int
    """Those that are made; stages that runs share are made once."""
    evaluations: int
    """Rows of R, likewise; at most, because a strategy such as `mixture` has fewer stages."""
    one: Estimate
    """Of the run that was measured: all environments, one after the other."""
    jobs: int
    warmup: bool
    """Whether a warm-up comes on top, which was not measured."""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds, with `jobs` processes at a time."""
        return self._total("wall", 0) / min(self.jobs, self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds."""
        return self._total("cpu", 1)

    @property
    def memory(self) -> float:
        """Bytes, of all processes at a time."""
        return (self.one.memory + self.one.children) * min(self.jobs, self.runs)

    def _total(self, quantity: str, clock: int) -> float:
        """Return the cost, if all updates cost the same, and so do all rows of R."""
        parts = self.one.parts
        training = sum(part.total(quantity) for part in parts if part.kind != "evaluation")
        rows = sum(part.total(quantity) for part in parts if part.kind == "evaluation")
        measured = 1 + sum(part.kind == "playing" for part in parts)
        alone = self.one.setup[clock] + self.one.baselines[clock]
        by_update = training / max(1, self.one.updates)
        return self.runs * alone + self.updates * by_update + self.evaluations * rows / measured


def estimate_study(
    experiment: str,
    origin: Path | None,
    overrides: Sequence[str],
    options: StudyOptions,
    plugins: Plugins,
    say: Callable[[str], None],
) -> StudyCost:
    """Return what a study would cost. Nothing is written.

    Args:
        experiment: as for `contrail.studies.launch.carry_out`.
        origin: likewise.
        overrides: `key=value` each.
        options: the options.
        plugins: the loaded ones.
        say: shows a line of progress.

    Raises:
        ContrailError: the study, or its run, is impossible.
    """
    file = study_file(origin, options)
    with tempfile.TemporaryDirectory(prefix="contrail-") as scratch:
        plan = read_study(
            experiment,
            Source(file) if isinstance(file, Path) else file,
            overrides,
            plugins,
            seeds=options.seeds,
            jobs=options.jobs,
            out=Path(scratch),
        )
        say(f"{plan.whole}: measuring a few steps …")
        path = Path(scratch, "stream.yaml")
        path.write_text(to_yaml(plan.whole.config))
        one = estimate_stream(path, plugins=plugins, quiet=True)
    updates, rows = _amount(plan, plugins)
    runs = sum(map(len, plan.runs.values())) + len(plan.warm)
    return StudyCost(plan.name, runs, updates, rows, one, plan.jobs, bool(plan.warm))


def _amount(plan: StudyPlan, plugins: Plugins) -> tuple[int, int]:
    """Return the numbers of updates and of rows of R that are computed."""
    known: set[str] = set()
    updates = rows = 0
    for of_seeds in plan.runs.values():
        for run in of_seeds.values():
            stages = [stage.updates for stage in run.config.stream]
            keys = row_keys(run.config, plugins)
            new = [row for row, key in enumerate(keys) if key is None or key not in known]
            first = min(new, default=len(keys))
            known.update(key for key in keys if key is not None)
            rows += len(keys) - first
            updates += sum(stages[max(0, first - 1) :])
    return updates, rows
