"""From scores to transfer and forgetting: every formula once, for one run and for its resamples.

Words of shape: T stages, N environments, B resamples. R has T+1 rows of N scores; row 0 is the
model before any training, row i comes after stage i. `trained[i-1]` holds the indices of the
environments that stage i trained on: A, B, A is `[{0}, {1}, {0}]`, a mixture is `[{0, 1}]`.

Undefined is None outside and nan inside this module. A mean with an undefined term is undefined:
leaving the term out would quietly turn it into a mean over other environments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Score: TypeAlias = float | None
Row: TypeAlias = Sequence[Score]
Matrix: TypeAlias = Sequence[Row]
Trained: TypeAlias = Sequence[Collection[int]]
Interval: TypeAlias = list[float]
"""`[low, high]`; a list, so that it reads back from JSON as it was written."""


class Metric:
    """One number out of R.

    `formula` and `source` are shown wherever the number is, and `needs` where it is undefined.
    Called with an R that holds None, it returns a float or None; `over` is the same formula over
    arrays [..., T+1, N] with nan.
    """

    def __init__(
        self,
        over: Callable[[Array, Trained], Array],
        name: str,
        formula: str,
        source: str,
        needs: str,
    ) -> None:
        self.over = over
        self.name = name
        self.formula = formula
        self.source = source
        self.needs = needs
        functools.update_wrapper(self, over)

    def __call__(self, R: Matrix, trained: Trained = ()) -> Score:
        return _score(self.over(_array(R), trained))


METRICS: dict[str, Metric] = {}
LEFT_BEHIND = "two environments, one of them trained on and then left behind by a later stage"


def _metric(
    formula: str, source: str, needs: str = "a score in every cell that it takes"
) -> Callable[[Callable[[Array, Trained], Array]], Metric]:
    def register(over: Callable[[Array, Trained], Array]) -> Metric:
        name = over.__name__
        METRICS[name] = Metric(over, name, formula, source, needs)
        return METRICS[name]

    return register


@_metric("mean_j R[T][j]", "arXiv:1706.08840")
def average_score(R: Array, trained: Trained) -> Array:
    """The mean over all environments after the last stage (GEM). R: [..., T+1, N] -> [...]."""
    return _mean(R[..., -1, :])


@_metric(
    "mean_j R[T][j] - R[s][j], s < T the last stage that trains on j",
    "arXiv:1706.08840",
    needs=LEFT_BEHIND,
)
def backward_transfer(R: Array, trained: Trained) -> Array:
    """What later stages did to an environment (GEM); below 0 it was forgotten.

    Over the environments whose last stage s is not T. Counting from the last stage keeps A, B, A
    honest: what the second A repaired is not B's transfer. R: [..., T+1, N] -> [...].
    """
    stages, environments = _left(R, trained)
    return _mean(R[..., -1, environments] - R[..., stages, environments])


@_metric(
    "mean_j max_{l<T} R[l][j] - R[T][j], j last trained on before T",
    "arXiv:1801.10112",
    needs=LEFT_BEHIND,
)
def forgetting(R: Array, trained: Trained) -> Array:
    """How far an environment has fallen from its best (Chaudhry et al.).

    Over the same environments as backward transfer. The best is taken over 0 <= l < T: row 0
    counts too, since what the base model could do can be forgotten. R: [..., T+1, N] -> [...].
    """
    _, environments = _left(R, trained)
    if not environments.size:
        return _mean(R[..., -1, environments])
    return _mean(R[..., :-1, environments].max(axis=-2) - R[..., -1, environments])


@_metric("mean_j max_{l<=T} R[l][j] - R[T][j], j trained on", "arXiv:1801.10112")
def drop_from_best(R: Array, trained: Trained) -> Array:
    """How far below their best the environments that were trained on ended.

    Forgetting for every strategy: it asks for no stage in which an environment was left behind, so
    it has a value for a mixture too. It is never below 0. R: [..., T+1, N] -> [...].
    """
    seen = sorted({j for _, environments in _numbered(R, trained) for j in environments})
    known = R[..., _integers(seen)]
    return _mean(known.max(axis=-2) - known[..., -1, :])


@_metric(
    "mean_j R[s-1][j] - R[0][j], s >= 2 the first stage that trains on j",
    "arXiv:1706.08840",
    needs="two environments, one of them first trained on after another",
)
def forward_transfer(R: Array, trained: Trained) -> Array:
    """What earlier stages did to an environment before its own began (GEM).

    The baseline is the base model, row 0. R: [..., T+1, N] -> [...].
    """
    first: dict[int, int] = {}
    for stage, environments in _numbered(R, trained):
        for environment in environments:
            first.setdefault(environment, stage)
    later = {j: stage for j, stage in first.items() if stage >= 2}
    index, stages = _integers(later), _integers(later.values())
    return _mean(R[..., stages - 1, index] - R[..., 0, index])


@_metric("mean of R[T][j] - R[0][j] over the environments trained on", "arXiv:2603.12011")
def delta_held_in(R: Array, trained: Trained) -> Array:
    """The change on the environments trained on (the study). R: [..., T+1, N] -> [...]."""
    return _change(R, trained, lambda seen: seen)


@_metric(
    "mean of R[T][j] - R[0][j] over the environments never trained on",
    "arXiv:2603.12011",
    needs="an environment that is evaluated and never trained on (evaluate.environments)",
)
def delta_held_out(R: Array, trained: Trained) -> Array:
    """The change on the environments never trained on (the study). R: [..., T+1, N] -> [...]."""
    return _change(R, trained, lambda seen: set(range(R.shape[-1])) - seen)


@_metric("mean of R[T][j] - R[0][j] over all environments", "arXiv:2603.12011")
def delta_overall(R: Array, trained: Trained) -> Array:
    """The change on all environments (the study). R: [..., T+1, N] -> [...]."""
    return _change(R, trained, lambda seen: set(range(R.shape[-1])))


def summary(R: Matrix, trained: Trained) -> dict[str, Score]:
    """All of `METRICS`, by name."""
    return {name: metric(R, trained) for name, metric in METRICS.items()}


def change(R: Matrix) -> list[list[Score]]:
    """R[i][j] - R[0][j] for every cell, [T+1, N]."""
    scores = _array(R)
    return _matrix(scores - scores[0])


def transfer_matrix(scores: Matrix, base: Row) -> dict[str, list[list[Score]]]:
    """What training on i alone does to j (the study, arXiv:2603.12011).

    Args:
        scores: row i holds the N scores after training on environment i alone.
        base: the N scores of the model before any training.

    Returns:
        `score`, and `change`: score[i][j] - base[j]; both of the shape of `scores`.
    """
    rows = _array(scores)
    return {"score": _matrix(rows), "change": _matrix(rows - _array(base))}


def area_under_curve(curve: Row, steps: Sequence[float] | None = None) -> Score:
    """Mean success over a stage of training: (1/D) * integral of p(t) (arXiv:2105.10919).

    Args:
        curve: the K successes on the environment being trained on, in the order of training.
        steps: when they were measured; they are then joined by straight lines (trapezoids).
            Without it each stands for an equal share of the stage and the area is their plain
            mean, which is what Continual World's own code computes.
    """
    success = _array(curve)
    if steps is None:
        return _score(_mean(success))
    at = np.asarray(steps, dtype=np.float64)
    if at.shape != success.shape or np.any(np.diff(at) <= 0):
        raise ValueError("Give one step for each point of the curve, in increasing order.")
    if at.size < 2:
        return None
    return _score(np.trapezoid(success, at) / (at[-1] - at[0]))


def continual_world_forward_transfer(auc: Row, auc_reference: Row) -> tuple[list[Score], Score]:
    """(AUC_j - AUC_ref,j) / (1 - AUC_ref,j) per environment, and its mean (arXiv:2105.10919).

    Args:
        auc: `area_under_curve` on each environment during its own stage of the stream, [N].
        auc_reference: the same for a run on that environment alone, [N]. Where it is 1 there was
            nothing to gain, and the transfer is undefined.
    """
    own, reference = _array(auc), _array(auc_reference)
    room = np.where(reference == 1, np.nan, 1 - reference)
    transfer = (own - reference) / room
    return [_score(value) for value in transfer], _score(_mean(transfer))


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of R, of its change against row 0, and of the metrics."""

    R: list[list[Interval | None]]
    change: list[list[Interval | None]]
    metrics: dict[str, Interval | None]


def bootstrap(
    scores: Sequence[ArrayLike] | Mapping[str, ArrayLike],
    trained: Trained,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Intervals:
    """Percentile bootstrap over the test tasks of one run.

    Tasks are drawn with replacement within each environment, the same draw for every stage: the
    tasks are the same at every stage, so changes are paired. A cell with fewer than two scored
    tasks has no interval. These intervals say how the scores depend on which tasks were drawn for
    the test, not on the seed of the training; where all tasks score alike they have no width. The
    maximum in forgetting is larger over resamples than over all tasks, so its interval lies high.

    Args:
        scores: for each environment, in the order of R's columns, the tasks' scores
            [T+1, tasks]; nan where a task has none (all its episodes were faults).
        trained: as for the metrics.
        rng: the source of the draws; equal generators give equal intervals.
        resamples: B, the number of draws.
        level: how much of the distribution the intervals hold.
    """
    environments = list(scores.values()) if isinstance(scores, Mapping) else scores
    R = np.stack(  # [B, T+1, N]
        [_resampled(np.asarray(s, dtype=np.float64), rng, resamples) for s in environments], axis=-1
    )
    return Intervals(
        R=_intervals(R, level),
        change=_intervals(R - R[:, :1], level),
        metrics={
            name: _interval(metric.over(R, trained), level) for name, metric in METRICS.items()
        },
    )


def mean_interval(
    values: ArrayLike, rng: np.random.Generator, resamples: int = 2000, level: float = 0.95
) -> tuple[Score, Interval | None]:
    """The mean of `values` [n] (tasks, or runs) and its bootstrap interval; nan is left out."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    draws = _resampled(array[np.newaxis], rng, resamples)
    return _score(_mean(array)), _interval(draws[:, 0], level)


def t_interval(values: Sequence[Score], level: float = 0.95) -> tuple[Score, Interval | None]:
    """The mean of a few runs' values [n] and Student's t interval: mean -+ t * s / sqrt(n).

    For runs, of which there are seldom enough to resample: with three, the bootstrap's interval is
    from the least to the greatest and holds the true mean three times in four. It supposes that
    runs scatter normally. Undefined where a value is; no interval with fewer than two.
    """
    array = _array(values)
    mean = _score(_mean(array))
    if mean is None or array.size < 2:
        return mean, None
    from scipy.special import stdtrit  # inside: only comparisons of runs need it

    quantile = float(stdtrit(array.size - 1, (1 + level) / 2))
    half = quantile * float(array.std(ddof=1)) / float(np.sqrt(array.size))
    return mean, [mean - half, mean + half]


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[Score, Interval | None]:
    """Mean and interval of a - b [n], the scores of the same tasks (or seeds) in the same order.

    A pair with an undefined side is left out.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"Pairs need equal lengths; these are {left.shape} and {right.shape}.")
    return mean_interval(left - right, rng, resamples, level)


def _array(values: Any) -> Array:
    """None becomes nan."""
    return np.array(values, dtype=np.float64)


def _score(value: Any) -> Score:
    """Nan becomes None."""
    return None if np.isnan(value) else float(value)


def _matrix(values: Array) -> list[list[Score]]:
    return [[_score(value) for value in row] for row in values]


def _mean(values: Array) -> Array:
    """Over the last axis; undefined where there is nothing to average or a term is undefined."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.mean(axis=-1))


def _integers(values: Collection[int]) -> NDArray[np.intp]:
    """An index, also when empty (numpy would take an empty list for floats)."""
    return np.array(list(values), dtype=np.intp)


def _numbered(R: Array, trained: Trained) -> list[tuple[int, Collection[int]]]:
    """(stage, environments), stages counted from 1 as the rows of R are."""
    rows, columns = R.shape[-2:]
    if len(trained) != rows - 1:
        raise ValueError(f"R has {rows} rows, so {rows - 1} stages; `trained` has {len(trained)}.")
    if unknown := {j for stage in trained for j in stage if not 0 <= j < columns}:
        raise ValueError(f"R has {columns} columns; `trained` names {sorted(unknown)}.")
    return list(enumerate(trained, start=1))


def _left(R: Array, trained: Trained) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The environments that training has left behind: (their last stages, their columns)."""
    last = {j: stage for stage, environments in _numbered(R, trained) for j in environments}
    left = {j: stage for j, stage in last.items() if stage < len(trained)}
    return _integers(left.values()), _integers(left)


def _change(R: Array, trained: Trained, chosen: Callable[[set[int]], set[int]]) -> Array:
    """Mean change against row 0; without any training there is none, rather than one of 0."""
    seen = {j for _, environments in _numbered(R, trained) for j in environments}
    index = _integers(sorted(chosen(seen)) if trained else ())
    return _mean(R[..., -1, index] - R[..., 0, index])


def _resampled(scores: Array, rng: np.random.Generator, resamples: int) -> Array:
    """Means of resampled tasks: scores [T+1, n] -> [B, T+1]."""
    tasks = scores.shape[1]
    if not tasks:
        return np.full((resamples, len(scores)), np.nan)
    scored = ~np.isnan(scores)
    # How often each task is drawn is all a mean needs, and it makes one matrix product of them.
    counts = rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=resamples).astype(np.float64)
    with np.errstate(invalid="ignore"):  # a draw without any scored task: 0 / 0 is nan, undefined
        means = (counts @ np.where(scored, scores, 0).T) / (counts @ scored.T)
    means[:, scored.sum(axis=1) < 2] = np.nan
    return np.asarray(means)


def _interval(draws: Array, level: float) -> Interval | None:
    """Percentiles of draws [B], of those that are defined."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return None
    return [float(q) for q in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])]


def _intervals(draws: Array, level: float) -> list[list[Interval | None]]:
    """The same for each cell of draws [B, rows, columns]."""
    _, rows, columns = draws.shape
    return [[_interval(draws[:, i, j], level) for j in range(columns)] for i in range(rows)]
