"""Confidence intervals, and what they cover.

Three things vary: which tasks are in the test, the dice of an evaluation, and the training seed.
One run has one training seed, so its intervals (`score_interval`, `difference_interval`) cover
tasks and dice. Over several runs `seeds_interval` covers training seeds and dice, for these test
tasks, and `tasks_and_seeds_interval` covers all three. All are made to hold the truth in 95 of 100
cases; docs/metrics.md has the simulated coverage of each, and where it is less.

Scores are 0 or 1, or means of a few of these, so the textbook's mean +- t s / sqrt(n) has no width
where all tasks agree, and holds the truth too seldom near 0 and 1. An interval of one run therefore
adds a few pseudo-tasks before it takes mean and deviation, which is known to hold for few tasks and
at the edges.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Score: TypeAlias = float | None
Interval: TypeAlias = list[float]
"""`[low, high]`; a list, so that it reads back from JSON as it was written."""

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, None where undefined. `count`: the tasks, or seeds, it is of."""

    value: Score
    interval: Interval | None
    count: int = 0


UNDEFINED = Estimate(None, None)


def score_interval(scores: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean score of test tasks, and its interval over tasks and dice.

    Two solved and two unsolved tasks are added (Agresti and Coull, 1998, with Student's t for z).
    The formula serves one sample per task and several.

    Args:
        scores: (tasks,) in [0, 1]; nan for a task without a score. Fewer than two have no interval.
        level: how often the interval holds the truth.
    """
    return _with_pseudo_tasks(scores, [0.0, 0.0, 1.0, 1.0], (0.0, 1.0), level)


def least_interval(columns: Sequence[ArrayLike]) -> Interval | None:
    """Return the interval over tasks and dice of the least of several environments' true scores.

    It ends at the least of the lower ends and at the least of the upper ends. The upper ends are
    those of intervals at a higher level (Bonferroni), since the lowest of several is taken. The
    truth is in it at least as often as in an interval of one environment.

    Args:
        columns: the scores of each environment's test tasks.

    Returns:
        None if an environment has fewer than two scores.
    """
    strict = 1 - (1 - LEVEL) / max(1, len(columns))
    ends = [score_interval(scores).interval for scores in columns]
    upper = [score_interval(scores, strict).interval for scores in columns]
    lows = [end[0] for end in ends if end is not None]
    highs = [end[1] for end in upper if end is not None]
    return [min(lows), min(highs)] if lows and len(lows) == len(columns) else None


def difference_interval(differences: ArrayLike) -> Estimate:
    """Mean difference of paired scores, and its interval over tasks and dice.

    One task that gained 1 and one that lost 1 are added (Bonett and Price, 2012, with Student's t
    for z), so the interval has a width where no task changed.

    Args:
        differences: (tasks,) of the same tasks twice; nan for a task without one of both scores.
    """
    array = np.asarray(differences, dtype=np.float64)
    widest = np.nanmax(np.abs(array), initial=1.0)  # differences of differences go to 2
    return _with_pseudo_tasks(array, [-1.0, 1.0], (-float(widest), float(widest)))


def positive_mean_interval(values: ArrayLike) -> Estimate:
    """Mean of numbers that are never negative and may have a long tail, and its interval.

    With h = t s / sqrt(n) the lower end is mean - h, cut at 0, and the upper end mean * exp(h /
    mean): Student's t, and Student's t of the mean's logarithm by the delta method. Few numbers
    often miss the tail, so a mean is more often too small than too large. The interval has no width
    where all values agree.

    Args:
        values: (tasks,), 0 or more; nan for a task without one. Fewer than two have no interval.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if array.size < 2:
        return Estimate(float(array[0]) if array.size else None, None, array.size)
    mean = float(array.mean())
    half = _quantile(array.size - 1) * float(array.std(ddof=1) / np.sqrt(array.size))
    high = mean * math.exp(half / mean) if mean else 0.0
    return Estimate(mean, [max(0.0, mean - half), high], array.size)


def mean_of(
    estimates: Sequence[Estimate],
    groups: Sequence[object] | None = None,
    weights: Sequence[float] | None = None,
) -> Estimate:
    """Return the mean of estimates; undefined where one of them is.

    Each side's distance to the mean is the root of the summed squares of the parts' distances, so
    that intervals need not be symmetric (MOVER; Zou and Donner, 2008).

    Args:
        estimates: to be averaged.
        groups: of each; estimates of one group are not independent, and their distances are added
            as they are. Without it all are independent.
        weights: of each, with the sum 1; by default all count alike.
    """
    values = [item.value for item in estimates if item.value is not None]
    ends = [item.interval for item in estimates if item.interval is not None]
    count = len(estimates)
    if not count or len(values) < count:
        return Estimate(None, None, count)
    shares = np.full(count, 1 / count) if weights is None else np.array(weights)
    mean = float(shares @ values)
    if len(ends) < count:
        return Estimate(mean, None, count)
    distances = np.abs(np.array(ends) - np.array(values)[:, np.newaxis]) * shares[:, np.newaxis]
    places: dict[object, list[int]] = {}
    for index, group in enumerate(range(count) if groups is None else groups):
        places.setdefault(group, []).append(index)
    sums = np.array([distances[indices].sum(axis=0) for indices in places.values()])
    below, above = np.sqrt((sums**2).sum(axis=0))
    return Estimate(mean, [mean - float(below), mean + float(above)], count)


def seeds_interval(
    runs: Sequence[Estimate],
    together: Estimate = UNDEFINED,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return the mean over training seeds, and its interval for the test tasks at hand.

    The wider, on each side, of two: Student's t over the runs' values, which supposes that runs
    scatter about normally, and the noise of all their tasks taken together, since a few runs may
    agree by chance. Where all agree exactly no more is known than from one of them.

    Args:
        runs: one value per seed, each with its interval over tasks and dice.
        together: the estimate from the tasks of all runs as one sample.
        bounds: of what can be true at all; the interval is cut there.

    Returns:
        Undefined where a run is; without an interval for fewer than two runs.
    """
    values = [run.value for run in runs]
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not values or known.size < len(values):
        return Estimate(None, None, len(values))
    mean = float(known.mean())
    if known.size < 2:
        return Estimate(mean, None, 1)
    if np.ptp(known) < 1e-12:
        ends = [run.interval for run in runs if run.interval is not None]
        alone = [float(side) for side in np.mean(ends, axis=0)] if ends else None
        return Estimate(mean, alone, known.size)
    half = _quantile(known.size - 1) * float(known.std(ddof=1) / np.sqrt(known.size))
    low, high = together.interval or (mean, mean)
    low, high = min(low, mean - half), max(high, mean + half)
    return Estimate(mean, [max(bounds[0], low), min(bounds[1], high)], known.size)


def extremes_interval(table: ArrayLike) -> tuple[Interval, Interval] | None:
    """Return the intervals over seeds of the greatest and of the least of several true means.

    The greatest of several noisy means is too great, and which one it is differs from seed to seed.
    So one end allows for the choice: the true greatest is at least as great as any of the means, so
    its lower end is the greatest of lower ends at a higher level (Bonferroni, with the deviation of
    all columns together, but never narrower than a column's own Student's t). Its upper end is the
    greatest of the upper ends. For the least it is the other way round.

    Args:
        table: (seeds, columns).

    Returns:
        None for fewer than two seeds, without a column, or where all seeds agree.
    """
    array = np.asarray(table, dtype=np.float64)
    if len(array) < 2 or not array.size or np.ptp(array, axis=0).max() < 1e-12:
        return None
    seeds, columns = array.shape
    means, deviations = array.mean(axis=0), array.std(axis=0, ddof=1)
    own = _quantile(seeds - 1) * deviations / np.sqrt(seeds)
    level = 1 - (1 - LEVEL) / columns
    common = float(np.sqrt((deviations**2).mean() / seeds))
    many = np.maximum(own, _quantile((seeds - 1) * columns, level) * common)
    greatest = [float((means - many).max()), float((means + own).max())]
    least = [float((means - own).min()), float((means + many).min())]
    return greatest, least


def range_interval(table: ArrayLike) -> Interval | None:
    """Return the interval over seeds of the greatest of several true means, less the least.

    Tukey's: by the studentised range all differences of two columns are within it at once. Rows
    are paired. The deviation is that of all columns together, or the difference's own where it is
    larger, since columns need not scatter alike; a difference never has less than the width of its
    own paired Student's t.

    Args:
        table: (seeds, columns).

    Returns:
        None for fewer than two seeds or columns, or where all seeds have the same differences.
    """
    array = np.asarray(table, dtype=np.float64)
    if array.ndim != 2 or min(array.shape) < 2:
        return None
    seeds, columns = array.shape
    differences = array[:, :, np.newaxis] - array[:, np.newaxis, :]
    if np.ptp(differences, axis=0).max() < 1e-12:
        return None
    freedom = (seeds - 1) * (columns - 1)
    rest = array - array.mean(axis=0) - array.mean(axis=1, keepdims=True) + array.mean()
    common = float(np.sqrt((rest**2).sum() / freedom / seeds))
    means = np.abs(differences.mean(axis=0))
    errors = differences.std(axis=0, ddof=1) / np.sqrt(seeds)
    together = _range_quantile(columns, freedom) * np.maximum(common, errors / np.sqrt(2))
    half = np.maximum(_quantile(seeds - 1) * errors, together)
    return [max(0.0, float((means - half).max())), float((means + half).max())]


def within(ends: Interval | None, bounds: tuple[float, float]) -> Interval | None:
    """Return an interval, cut at what can be true at all."""
    return None if ends is None else [max(bounds[0], ends[0]), min(bounds[1], ends[1])]


def tasks_and_seeds_interval(
    parts: Sequence[tuple[ArrayLike, bool]],
    groups: Sequence[object] | None = None,
    weights: Sequence[float] | None = None,
) -> Interval | None:
    """Return the interval of a mean over seeds that covers other test tasks and other training
    seeds.

    Seeds and tasks are crossed random effects. The means of the tasks over the seeds have an
    interval over tasks and dice, as in one run; what seeds scatter beyond the dice is added, as an
    independent error with Student's t.

    Args:
        parts: for each environment that the mean is over, values (seeds, tasks), and whether they
            are differences. Tasks that a seed lacks are left out.
        groups: of each environment; those of one group share tasks (see `mean_of`).
        weights: of each environment (see `mean_of`).

    Returns:
        None for fewer than two seeds or tasks.
    """
    tables = []
    for values, _ in parts:
        table = np.asarray(values, dtype=np.float64)
        tables.append(table[:, ~np.isnan(table).any(axis=0)])
    if not tables or len(tables[0]) < 2 or any(table.shape[1] < 2 for table in tables):
        return None
    seeds, count = len(tables[0]), len(tables)
    shares = [1 / count] * count if weights is None else weights
    over_tasks = mean_of(
        [
            difference_interval(table.mean(axis=0))
            if difference
            else score_interval(table.mean(axis=0))
            for table, (_, difference) in zip(tables, parts, strict=True)
        ],
        groups,
        shares,
    )
    assert over_tasks.value is not None
    assert over_tasks.interval is not None
    by_seed = np.asarray(shares) @ np.array([table.mean(axis=1) for table in tables])
    noise = 0.0
    for table, share in zip(tables, shares, strict=True):
        rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        tasks = table.shape[1]
        noise += share**2 * float((rest**2).sum()) / ((seeds - 1) * (tasks - 1) * tasks)
    scatter = max(0.0, float(by_seed.var(ddof=1)) - noise)
    half = _quantile(seeds - 1) * float(np.sqrt(scatter / seeds))
    low, high = (float(np.hypot(end - over_tasks.value, half)) for end in over_tasks.interval)
    return [over_tasks.value - low, over_tasks.value + high]


def sign_flip_p(differences: Sequence[float], rng: np.random.Generator) -> float | None:
    """Two-sided p of no difference between two strategies, by the sign-flip permutation test.

    Under no difference each seed's difference is as likely to be its negative. The test is exact up
    to 16 seeds; with n seeds p is never below 2 / 2^n.

    Args:
        differences: one per seed, paired.
        rng: of the sampled sign flips where there are more than 2^16.
    """
    if len(differences) < 2:
        return None
    if not np.any(differences):
        return 1.0
    from scipy.stats import permutation_test  # inside: only comparisons of runs need it

    found = permutation_test(
        (np.asarray(differences, dtype=np.float64),),
        np.mean,
        permutation_type="samples",
        n_resamples=2**16,
        rng=rng,
    )
    return float(found.pvalue)


def seeds_needed(
    differences: Sequence[float], noise: Interval | None = None, effect: float = 0.05
) -> int | None:
    """Return the number of seeds that give an interval of at most +- `effect`.

    New seeds are assumed to scatter as the given ones.

    Args:
        differences: one per seed. Fewer than two say nothing.
        noise: the interval of all these seeds' tasks as one sample, which shrinks with the root of
            the number of seeds; `seeds_interval` is never narrower.
        effect: half of the width that is wanted.
    """
    if len(differences) < 2:
        return None
    least = 2
    if noise is not None:
        half = (noise[1] - noise[0]) / 2
        least = max(least, math.ceil(len(differences) * (half / effect) ** 2))
    deviation = float(np.std(differences, ddof=1))
    count = 2
    while _quantile(count - 1) * deviation / np.sqrt(count) > effect and count < 100_000:
        count += 1 if count < 100 else count // 20
    return max(count, least)


def _with_pseudo_tasks(
    values: ArrayLike,
    added: Sequence[float],
    bounds: tuple[float, float],
    level: float = LEVEL,
) -> Estimate:
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if array.size < 2:
        return Estimate(float(array[0]) if array.size else None, None, array.size)
    mean = float(array.mean())
    augmented = np.concatenate([array, added])
    centre, deviation = float(augmented.mean()), float(augmented.std())
    half = _quantile(augmented.size - 1, level) * deviation / float(np.sqrt(augmented.size))
    low, high = max(bounds[0], centre - half), min(bounds[1], centre + half)
    return Estimate(mean, [min(mean, low), max(mean, high)], array.size)


@functools.lru_cache(maxsize=1024)
def _quantile(freedom: float, level: float = LEVEL) -> float:
    """Of Student's t, such that the two tails hold 1 - level."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


@functools.lru_cache(maxsize=256)
def _range_quantile(columns: int, freedom: int) -> float:
    """Of the studentised range of several columns; it takes a good part of a second."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(LEVEL, columns, freedom))
