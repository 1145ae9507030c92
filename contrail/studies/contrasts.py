"""Differences that several claims take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from contrail.comparison.estimate import Parts
from contrail.intervals import (
    UNDEFINED,
    Array,
    Estimate,
    Interval,
    extremes_interval,
    range_interval,
    within,
)
from contrail.metrics.transfer import Part, estimate
from contrail.studies.criteria import Criterion
from contrail.studies.design import Key, alone
from contrail.studies.evidence import FIRST, LAST, Evidence, Missing, Term

UNCHECKED = "unchecked"
"""The failure mode of confidence without verification."""


def criterion(
    evidence: Evidence,
    text: str,
    terms: Sequence[Term],
    missing: str,
    low: float | None = 0,
    high: float = float("inf"),
    bounds: tuple[float, float] = (-1, 1),
) -> Criterion:
    """Return a criterion on the mean of terms, which can be within the bounds; `missing` says why
    there are none."""
    least = -float("inf") if low is None else low
    if not terms:
        return Criterion(text, None, least, high, reason=missing)
    return Criterion(text, evidence.quantity(terms, bounds), least, high)


def gain_term(evidence: Evidence, trained: str, tested: str) -> Term:
    """Return the gain on a column by training on an environment."""
    run = alone(trained)
    return evidence.change((run, FIRST), (run, LAST), tested)


def held_in_terms(evidence: Evidence) -> list[Term]:
    """Return the gain of each environment by training on it."""
    return [gain_term(evidence, label, label) for label in evidence.subject.environments]


def held_out_terms(evidence: Evidence) -> list[Term]:
    """Return the gain of each environment by training on each other."""
    return [gain_term(evidence, one, other) for one, other in evidence.subject.pairs]


def learnt(evidence: Evidence) -> Criterion:
    """Return what most claims take for granted."""
    quantity = evidence.quantity(held_in_terms(evidence))
    return Criterion("held-in gain", quantity, low=0, needed=True)


def gain(evidence: Evidence, trained: str, tested: str, seed: int) -> float:
    """Return the gain on a column by training on an environment, of one seed.

    Raises:
        KeyError: the run has not ended, or no task has both scores.
    """
    found = estimate(gain_term(evidence, trained, tested)(seed)).value
    if found is None:
        raise Missing(tested)
    return found


def minus(one: Term, other: Term) -> Term:
    """Return the difference of two terms, task by task: the columns are of the same tasks."""

    def term(seed: int) -> Parts:
        (name, mine), (theirs,) = *one(seed).items(), other(seed).values()
        return {name: Part(mine.values - theirs.values, group=mine.group)}

    return term


def average(
    evidence: Evidence,
    before: tuple[Key, int],
    after: tuple[Key, int],
) -> Term:
    """Return the change of the average success on all environments."""

    def term(seed: int) -> Parts:
        parts: dict[str, Part] = {}
        for label in evidence.subject.environments:
            parts |= evidence.change(before, after, label)(seed)
        return parts

    return term


def extremes(
    evidence: Evidence, values: Sequence[Callable[[int], float]]
) -> tuple[Estimate, Estimate]:
    """Return the greatest and the least of several numbers' means over seeds.

    The greatest of several noisy numbers is too great. So its value is chosen by the other seeds,
    and its interval allows for the choice (see `extremes_interval`).
    """
    table = _table(evidence, values)
    if table.size == 0:
        return UNDEFINED, UNDEFINED
    bounds = (-1.0, 1.0)  # of differences of success, which all of these are
    ends = [within(side, bounds) for side in extremes_interval(table) or (None, None)]
    most, least = (_chosen(table, argument) for argument in (np.argmax, np.argmin))
    return _estimate(most, ends[0], len(table)), _estimate(least, ends[1], len(table))


def spread(evidence: Evidence, values: Sequence[Callable[[int], float]]) -> Estimate:
    """Return the greatest of several numbers' means over seeds, less the least.

    The two are chosen by the other seeds, and the interval allows for that (see `range_interval`).
    """
    table = _table(evidence, values)
    if table.size == 0:
        return UNDEFINED
    most, least = (_chosen(table, argument) for argument in (np.argmax, np.argmin))
    return _estimate(most - least, within(range_interval(table), (0.0, 1.0)), len(table))


def _table(evidence: Evidence, values: Sequence[Callable[[int], float]]) -> Array:
    """Return (seeds, values), of the seeds that have them all."""
    rows = []
    for seed in evidence.seeds:
        try:
            rows.append([value(seed) for value in values])
        except KeyError:  # a run that this takes has not ended, or lacks it
            continue
    return np.array(rows, dtype=np.float64)


def _chosen(table: Array, argument: Callable[[Array], np.intp]) -> Array:
    """Return for each seed the value in the column that the other seeds choose; none for one."""
    if len(table) < 2:
        return np.empty(0)
    others = (table.sum(axis=0) - table) / (len(table) - 1)
    return np.array([row[argument(means)] for row, means in zip(table, others, strict=True)])


def _estimate(values: Array, ends: Interval | None, seeds: int) -> Estimate:
    """Return the mean of some values, not outside of its interval."""
    if not values.size:
        return Estimate(None, None, seeds)
    mean = float(values.mean())
    if ends is not None:
        mean = min(max(mean, ends[0]), ends[1])
    return Estimate(mean, ends, seeds)


def failures(evidence: Evidence, label: str, seed: int) -> Mapping[str, Any]:
    """Return the counts of failures after training on an environment.

    Raises:
        KeyError: the run has not ended, or no episode has failed.
    """
    found: Mapping[str, Any] = evidence.played(alone(label), seed, label)["failures"]
    if not found["failed"]:
        raise Missing(label)
    return found


def unchecked(evidence: Evidence, label: str, seed: int) -> Parts:
    """Return whether failed episodes end unchecked, after training on an environment.

    Raises:
        KeyError: the run has not ended, or no episode has failed.
    """
    found = failures(evidence, label, seed)
    count = found["modes"].get(UNCHECKED, 0)
    values = np.repeat([1.0, 0.0], [count, found["failed"] - count])
    return {label: Part(values, difference=False)}


def lead_of_unchecked(evidence: Evidence, label: str) -> Estimate:
    """Return the share of failed episodes that end unchecked, less that of the commonest other
    failure."""
    modes = {
        mode
        for of_run in evidence.results.get(alone(label), {}).values()
        for mode in of_run["evaluations"][LAST][label]["failures"]["modes"]
    }

    def lead(mode: str, seed: int) -> float:
        found = failures(evidence, label, seed)
        own, other = (found["modes"].get(name, 0) for name in (UNCHECKED, mode))
        return float(own - other) / float(found["failed"])

    others = sorted(modes - {UNCHECKED}) or ["none"]
    return extremes(evidence, [partial(lead, mode) for mode in others])[1]
