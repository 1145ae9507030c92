"""From the scores of test tasks to transfer and forgetting: every formula once.

T stages make T + 1 rows: row 0 is the model before any training, row i comes after stage i. A
metric is a mean over environments, and each environment's part of it is a mean over its test tasks
of a score, or of a difference between two rows of the same task. So every metric has an interval,
and a task that lacks one of two scores is left out of their difference.

Undefined is None outside and nan inside this module. A mean with an undefined term is undefined:
leaving the term out would quietly turn it into a mean over other environments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contrail.intervals import (
    Array,
    Estimate,
    Interval,
    Score,
    difference_interval,
    least_interval,
    mean_of,
    score_interval,
)
from contrail.metrics.task_scores import TaskScores as TaskScores


@dataclass(frozen=True)
class Part:
    """What one environment adds to a metric: `values` (tasks,), of scores or of differences.

    `group`: the same for environments that share tasks, as two labels of one environment do.
    """

    values: Array
    difference: bool = True
    group: str = ""

    def estimate(self) -> Estimate:
        """Return the mean over the tasks, with its interval."""
        return difference_interval(self.values) if self.difference else score_interval(self.values)


def estimate(parts: Mapping[str, Part]) -> Estimate:
    """Return the mean over environments, with its interval over tasks and dice; undefined without
    any."""
    groups = [part.group or name for name, part in parts.items()]
    return mean_of([part.estimate() for part in parts.values()], groups)


class Metric:
    """One number of a run.

    `formula` and `source` are shown wherever the number is, and `needs` where it is undefined.
    `interval` takes the place of the interval of the parts.
    """

    def __init__(
        self,
        parts: Callable[[TaskScores], Mapping[str, Part]],
        formula: str,
        source: str,
        needs: str,
        interval: Callable[[TaskScores], Interval | None] | None = None,
    ) -> None:
        self._parts = parts
        self._interval = interval
        self.name = parts.__name__
        self.formula = formula
        self.source = source
        self.needs = needs
        functools.update_wrapper(self, parts)

    def parts(self, results: TaskScores) -> dict[str, Part]:
        """Return the contribution of each environment; without any the metric is undefined."""
        found = self._parts(results)
        return {name: replace(part, group=results.group(name)) for name, part in found.items()}

    def __call__(self, results: TaskScores) -> Estimate:
        """Return the number, with its interval over the test tasks and the dice of their
        evaluation."""
        found = estimate(self.parts(results))
        if self._interval is None or found.value is None:
            return found
        ends = self._interval(results)
        if ends is not None:
            ends = [min(found.value, ends[0]), max(found.value, ends[1])]
        return replace(found, interval=ends)


METRICS: dict[str, Metric] = {}
LEFT_BEHIND = "two environments, one of them trained on and then left behind by a later stage"
HALVES = "two test tasks of each environment"


def _metric(
    formula: str,
    source: str,
    needs: str = "a score in every cell that it takes",
    interval: Callable[[TaskScores], Interval | None] | None = None,
) -> Callable[[Callable[[TaskScores], Mapping[str, Part]]], Metric]:
    def register(parts: Callable[[TaskScores], Mapping[str, Part]]) -> Metric:
        metric = METRICS[parts.__name__] = Metric(parts, formula, source, needs, interval)
        return metric

    return register


@_metric("mean_j R[T][j]", "arXiv:1706.08840")
def average_score(results: TaskScores) -> dict[str, Part]:
    """Return the mean over all environments after the last stage (GEM)."""
    return {name: Part(rows[-1], difference=False) for name, rows in results.scores.items()}


def _least(results: TaskScores) -> Interval | None:
    """Return the interval of the least of the environments' last scores."""
    return least_interval([rows[-1] for rows in results.scores.values()])


@_metric(
    "R[T][j], j the worst on the other half of the tasks",
    "after arXiv:2602.05547",
    needs=HALVES,
    interval=_least,
)
def worst_environment(results: TaskScores) -> dict[str, Part]:
    """Return the score of the worst environment after the last stage.

    The least of noisy scores is too low if it is chosen and measured on the same episodes. So one
    half of the tasks chooses the environment whose other half is measured, and vice versa. Where
    scores are close a half may choose another environment, so the number is then a little too high.
    The two halves depend on each other; the interval is therefore not theirs, but that of the least
    of all environments' true scores.
    """
    return worst_of({name: rows[-1] for name, rows in results.scores.items()})


@_metric("mean_j R[T][j] - R[s][j], s < T j's own stage", "arXiv:1706.08840", needs=LEFT_BEHIND)
def backward_transfer(results: TaskScores) -> dict[str, Part]:
    """Return how later stages changed an environment (GEM); below 0 it was forgotten.

    An environment's own stage is the last one that is meant for it: in A, B, A the second A's gain
    is not B's transfer. Environments whose own stage is the last have no later stages.
    """
    scores = results.scores
    left = results.left()
    return {name: Part(scores[name][-1] - scores[name][stage]) for name, stage in left.items()}


@_metric(
    "mean_j R[l][j] - R[T][j], l of 1..T-1 best on the other half of j's tasks, own stage < T",
    "arXiv:1801.10112",
    needs=f"{LEFT_BEHIND}, and {HALVES}",
)
def forgetting(results: TaskScores) -> dict[str, Part]:
    """Return how far an environment has fallen from its best after training (Chaudhry et al.).

    The best of noisy rows is too high if it is chosen and measured on the same episodes: with
    nothing forgotten the mean would be above 0, and higher with more stages. So the best row is
    chosen on one half of the tasks and measured on the other, and vice versa.
    """
    rows = range(1, results.stages)
    return {name: _fall(results.scores[name], rows) for name in results.left()}


@_metric(
    "mean_j R[l][j] - R[T][j], l of 0..T best on the other half of j's tasks, j trained on",
    "after arXiv:1801.10112",
    needs=f"a stage that trains, and {HALVES}",
)
def drop_from_best(results: TaskScores) -> dict[str, Part]:
    """How far the environments trained on ended below their best, the base model's row included.

    Unlike forgetting it is defined for a mixture. The best row is chosen as in forgetting.
    """
    rows = range(results.stages + 1)
    return {name: _fall(results.scores[name], rows) for name in results.seen}


@_metric(
    "mean_j share of j's tasks solved in row l and not in T, l of 0..T best on the other half",
    "arXiv:2606.03087",
    needs=f"a stage, and {HALVES}",
)
def turnover(results: TaskScores) -> dict[str, Part]:
    """Return the share of the test tasks that were solved at an environment's best, and are lost.

    Rows have common dice, so nothing is lost where nothing changes. The best row is chosen as in
    forgetting. Turnover less what was gained is the drop from best. With several samples it is the
    mean over them: a sample has its own dice, in all rows the same.
    """
    return _turned(results, 1.0)


@_metric(
    "mean_j share of j's tasks not solved in row l and solved in T, l as in turnover",
    "arXiv:2606.03087",
    needs=f"a stage, and {HALVES}",
)
def gained(results: TaskScores) -> dict[str, Part]:
    """Return the share of the test tasks that are solved, and were not at their environment's
    best."""
    return _turned(results, -1.0)


@_metric(
    "mean_j R[s-1][j] - R[0][j], s >= 2 the first stage that trains on j",
    "arXiv:1706.08840",
    needs="two environments, one of them first trained on after another",
)
def forward_transfer(results: TaskScores) -> dict[str, Part]:
    """Return how earlier stages changed an environment before it was trained on (GEM).

    The baseline is the base model, row 0.
    """
    first = {name: results.first_stage(name) for name in results.scores}
    return {
        name: Part(results.scores[name][stage - 1] - results.scores[name][0])
        for name, stage in first.items()
        if stage is not None and stage >= 2 and name not in results.before
    }


@_metric(
    "mean of R[T][j] - R[0][j] over the environments trained on",
    "arXiv:2603.12011",
    needs="a stage that trains",
)
def delta_held_in(results: TaskScores) -> dict[str, Part]:
    """Return the change on the environments trained on (the study)."""
    return _change(results, results.seen)


@_metric(
    "mean of R[T][j] - R[0][j] over the environments never trained on",
    "arXiv:2603.12011",
    needs="an environment that is evaluated and never trained on (evaluate.environments)",
)
def delta_held_out(results: TaskScores) -> dict[str, Part]:
    """Return the change on the environments never trained on (the study).

    Those that the policy had been trained on before the stream are left out.
    """
    trained = {*results.seen, *results.before}
    return _change(results, [name for name in results.scores if name not in trained])


@_metric("mean of R[T][j] - R[0][j] over all environments", "arXiv:2603.12011", needs="a stage")
def delta_overall(results: TaskScores) -> dict[str, Part]:
    """Return the change on all environments (the study)."""
    return _change(results, list(results.scores))


def worst_of(columns: Mapping[str, Array]) -> dict[str, Part]:
    """Return the scores of the column that is the worst on the other half of the tasks.

    Args:
        columns: by environment, the scores of its test tasks.
    """
    values = {name: np.full_like(column, np.nan) for name, column in columns.items()}
    for half in (0, 1):
        others = {name: column[1 - half :: 2] for name, column in columns.items()}
        if any(np.isnan(other).all() for other in others.values()):  # or empty
            return {}
        worst = min(others, key=lambda name: float(np.nanmean(others[name])))
        values[worst][half::2] = columns[worst][half::2]
    chosen = {name: row for name, row in values.items() if not np.isnan(row).all()}
    return {name: Part(row, difference=False) for name, row in chosen.items()}


def matrix(results: TaskScores) -> list[list[Estimate]]:
    """R: mean success of each cell, (T + 1, environments)."""
    columns = results.scores.values()
    return [[score_interval(rows[i]) for rows in columns] for i in range(results.stages + 1)]


def change(results: TaskScores, start: int = 0) -> list[list[Estimate]]:
    """R[i][j] - R[start][j] over the tasks that have both scores, (T + 1, environments)."""
    columns = results.scores.values()
    rows = range(results.stages + 1)
    return [[difference_interval(each[i] - each[start]) for each in columns] for i in rows]


def over(results: TaskScores, others: Mapping[str, Mapping[str, Score]]) -> list[list[Estimate]]:
    """R[i][j] less another player's score, task by task, (T + 1, environments).

    Args:
        results: of the run.
        others: environment -> task -> the player's mean score; environments that it lacks are
            undefined.
    """
    columns = []
    for name, scores in results.scores.items():
        theirs = others.get(name, {})
        columns.append(scores - np.array([theirs.get(task) for task in results.tasks[name]], float))
    return [
        [difference_interval(column[i]) for column in columns] for i in range(results.stages + 1)
    ]


def turnover_by_environment(results: TaskScores, first: int = 0) -> dict[str, dict[str, Any]]:
    """Return the tasks lost and gained since the best row by environment, as JSON values.

    `best`: the best rows, counted from `first`; each half of the tasks chooses one for the other.
    `independent_dice`: the share that an unchanged policy would lose between two evaluations with
    independent dice: c (n - c) / (n (n - 1)) of a task with c of n samples solved, after the last
    stage. None with one sample.
    """
    found = {}
    lost, won = turnover.parts(results), gained.parts(results)
    for name in lost:
        outcomes = results.outcomes_of(name)[-1]
        n, c = (~np.isnan(outcomes)).sum(axis=1), np.nansum(outcomes, axis=1)
        several = n > 1
        shares = (c * (n - c))[several] / (n * (n - 1))[several]
        rows = best_rows(results.scores[name], range(results.stages + 1))
        estimates = {"lost": lost[name].estimate(), "gained": won[name].estimate()}
        found[name] = {
            **{key: {"value": e.value, "interval": e.interval} for key, e in estimates.items()},
            "best": sorted({first + row for row in rows.values()}),
            "independent_dice": float(shares.mean()) if several.any() else None,
        }
    return found


def _change(results: TaskScores, names: Sequence[str]) -> dict[str, Part]:
    """Return the last row against row 0; without any stage there is no change, rather than one of
    0."""
    if not results.stages:
        return {}
    return {name: Part(results.scores[name][-1] - results.scores[name][0]) for name in names}


def _fall(scores: Array, rows: Sequence[int]) -> Part:
    """From the best of `rows` to the last row; each half of the tasks chooses for the other."""
    values = np.full(scores.shape[1], np.nan)
    for half, best in best_rows(scores, rows).items():
        values[half::2] = scores[best, half::2] - scores[-1, half::2]
    return Part(values)


def best_rows(scores: Array, rows: Sequence[int]) -> dict[int, int]:
    """Return for each half of the tasks, 0 or 1, the row that is best on the other half."""
    found = {}
    for half in (0, 1):
        other = scores[:, 1 - half :: 2]
        if not other.size or np.isnan(other).all(axis=1).any():
            continue
        means = np.nanmean(other, axis=1)
        found[half] = max(rows, key=lambda row: (means[row], row))  # of equal rows the latest
    return found


def _turned(results: TaskScores, sign: float) -> dict[str, Part]:
    """Return the share of outcomes that fell (1) or rose (-1) from the best row to the last one."""
    if not results.stages:
        return {}
    parts = {}
    for name, scores in results.scores.items():
        outcomes = results.outcomes_of(name)
        values = np.full(scores.shape[1], np.nan)
        for half, best in best_rows(scores, range(results.stages + 1)).items():
            change = sign * (outcomes[best, half::2] - outcomes[-1, half::2])
            known = ~np.isnan(change)
            counts = known.sum(axis=1)
            sums = np.where(known, np.maximum(change, 0.0), 0.0).sum(axis=1)
            values[half::2] = np.where(counts, sums / np.maximum(counts, 1), np.nan)
        parts[name] = Part(values, difference=False)
    return parts
