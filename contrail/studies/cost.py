"""What a study will cost: one run over all environments is measured, and the runs are added up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from contrail.comparison.share import row_keys
from contrail.config import RunConfig, Source, to_yaml
from contrail.errors import ContrailError
from contrail.registry.plugins import Plugins
from contrail.runs.estimate import Estimate
from contrail.runs.launch import estimate_stream
from contrail.runs.position import Course
from contrail.studies.launch import StudyOptions, study_file
from contrail.studies.plan import StudyPlan, read_study
from contrail.studies.strategies import stages_of


@dataclass(frozen=True)
class StudyCost:
    """What an experiment, or all, will cost."""

    name: str
    runs: int
    updates: int
    """Those that are made; stages that runs share are made once."""
    evaluations: int
    """Of all environments, likewise; at most, unless it is `exact`."""
    exact: bool
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
        """Return the cost, if all updates cost the same, and so do all evaluations."""
        parts = self.one.parts
        training = sum(part.total(quantity) for part in parts if part.kind != "evaluation")
        evaluation = sum(part.at(quantity) for part in parts if part.kind == "evaluation")
        alone = self.one.setup[clock] + self.one.baselines[clock]
        by_update = training / max(1, self.one.updates)
        return self.runs * alone + self.updates * by_update + self.evaluations * evaluation


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
    updates, evaluations, exact = _amount(plan, plugins)
    runs = sum(map(len, plan.runs.values())) + len(plan.warm)
    warm = bool(plan.warm)
    return StudyCost(plan.name, runs, updates, evaluations, exact, one, plan.jobs, warm)


def _amount(plan: StudyPlan, plugins: Plugins) -> tuple[int, int, bool]:
    """Return the numbers of updates and of evaluations of all environments that are made, and
    whether the latter is exact."""
    known: set[str] = set()
    updates = evaluations = 0
    exact = True
    for of_seeds in plan.runs.values():
        for run in of_seeds.values():
            keys = row_keys(run.config, plugins)
            new = [row for row, key in enumerate(keys) if key is None or key not in known]
            first = min(new, default=len(keys))
            known.update(key for key in keys if key is not None)
            planned, known_stages = _course(run.config, plugins)
            updates += sum(planned.updates[max(0, first - 1) :])
            evaluations += planned.evaluations(first)
            exact = exact and known_stages and planned.exact
    return updates, evaluations, exact


def _course(config: RunConfig, plugins: Plugins) -> tuple[Course, bool]:
    """Return what tells how often a run evaluates, and whether the strategy's stages are known.

    Tasks are not listed for it: the strategy is given stages without any.
    """
    # They import torch, which `estimate_stream` has loaded by now.
    from contrail.runs.composition import compose
    from contrail.runs.measure import course

    strategy = compose(config, plugins)
    stages = stages_of(config, plugins)
    try:
        return course(config, strategy, strategy.stages(stages)), True
    except ContrailError:  # a strategy that needs tasks
        return course(config, strategy, stages), False
