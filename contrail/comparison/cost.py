"""What a comparison will cost: a run of each strategy is measured, and the runs are added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from contrail.comparison.plan import Plan, PlannedRun
from contrail.comparison.share import row_keys
from contrail.registry.plugins import Plugins
from contrail.runs.estimate import Estimate
from contrail.runs.position import Course

Measure = Callable[[str], Estimate]


@dataclass(frozen=True)
class Cost:
    """What the runs of a strategy cost together."""

    strategy: str
    runs: int
    one: Estimate
    """Of one of them, if it shares nothing."""
    seconds: float
    """Wall-clock seconds of all of them, one after the other."""
    cpu_seconds: float
    """Processor seconds of all of them."""


def costs(
    plan: Plan, measured: Mapping[str, Estimate], plugins: Plugins, *, sharing: bool
) -> list[Cost]:
    """Return the costs of a plan's runs, by strategy.

    Rows of R that several runs have in common are computed once. Updates are taken to cost the
    same, and so are evaluations.

    Args:
        plan: of the comparison.
        measured: an estimate for each strategy.
        plugins: the loaded ones.
        sharing: whether the comparison shares.
    """
    known: set[str] = set()
    first: dict[str, PlannedRun] = {}  # the runs that were measured
    for run in plan.runs:
        first.setdefault(run.strategy, run)
    sums = {label: [0, 0.0, 0.0] for label in plan.strategies}
    for run in plan.runs:
        one = measured[run.strategy]
        keys = row_keys(run.config, plugins) if sharing else []
        rows = next((row for row, key in enumerate(keys) if key not in known), len(keys))
        known.update(key for key in keys if key is not None)
        total = sums[run.strategy]
        total[0] += 1
        course = in_order(one.course, run, first[run.strategy])
        for place, quantity in enumerate(("wall", "cpu"), start=1):
            total[place] += _without_first(one, course, quantity, rows)
    return [
        Cost(label, int(count), measured[label], wall, cpu)
        for label, (count, wall, cpu) in sums.items()
    ]


def in_order(course: Course, run: PlannedRun, measured: PlannedRun) -> Course:
    """Return the course of a run, from that of another order of its stages.

    A strategy that makes stages of its own out of them is taken to make the same.
    """
    own, other = ([item.updates for item in each.config.stream] for each in (run, measured))
    warmup = course.updates[: course.warmup]
    if course.updates != (*warmup, *other):
        return course
    return replace(course, updates=(*warmup, *own))


def _without_first(one: Estimate, course: Course, quantity: str, rows: int) -> float:
    """Return what a run costs that takes over its first rows of R from another."""
    evaluations = [part for part in one.parts if part.kind == "evaluation"]
    training = sum(part.total(quantity) for part in one.parts if part.kind != "evaluation")
    shown = sum(part.total(quantity) for part in evaluations)
    clock = 0 if quantity == "wall" else 1
    setup = one.setup[clock] + one.baselines[clock]
    left = sum(course.updates[max(0, rows - 1) :]) / max(1, sum(course.updates))
    return setup + training * left + shown * course.evaluations(rows) / course.evaluations()
