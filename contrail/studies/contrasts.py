"""Differences that several claims take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean

import numpy as np

from contrail.comparison.estimate import Parts, Quantity
from contrail.metrics import Part
from contrail.studies.criteria import Criterion
from contrail.studies.design import Key, alone
from contrail.studies.evidence import FIRST, LAST, Evidence, Term

UNCHECKED = "unchecked"
"""The failure mode of confidence without verification."""


def criterion(
    evidence: Evidence,
    text: str,
    terms: Sequence[Term],
    missing: str,
    low: float | None = 0,
    high: float = float("inf"),
) -> Criterion:
    """Return a criterion on the mean of terms; `missing` says why there are none."""
    least = -float("inf") if low is None else low
    if not terms:
        return Criterion(text, None, least, high, reason=missing)
    return Criterion(text, evidence.quantity(terms), least, high)


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
        KeyError: the run has not ended.
    """
    run = alone(trained)
    return evidence.mean(run, seed, tested, LAST) - evidence.mean(run, seed, tested, FIRST)


def loss_by_semantics(evidence: Evidence, seed: int) -> float | None:
    """Return the mean held-in gain, less the mean held-out gain."""
    labels, pairs = evidence.subject.environments, evidence.subject.pairs
    if not pairs:
        return None
    own = [gain(evidence, label, label, seed) for label in labels]
    return mean(own) - mean([gain(evidence, *pair, seed=seed) for pair in pairs])


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
) -> tuple[Quantity, Quantity]:
    """Return the value of the greatest and of the least of several, chosen by the other seeds.

    The greatest of several noisy numbers is too great. Chosen by the other seeds it is not.
    """
    table: dict[int, list[float]] = {}
    for seed in evidence.seeds:
        try:
            table[seed] = [value(seed) for value in values]
        except KeyError:  # a run that this takes has not ended
            continue
    most, least = {}, {}
    for seed, row in table.items():
        others = [theirs for other, theirs in table.items() if other != seed]
        if not others or not row:
            continue
        means = [mean(column) for column in zip(*others, strict=True)]
        places = range(len(row))
        most[seed] = row[max(places, key=means.__getitem__)]
        least[seed] = row[min(places, key=means.__getitem__)]
    return Quantity.of_values(most), Quantity.of_values(least)


def failure_shares(evidence: Evidence, label: str, less_next: bool, seed: int) -> Parts:
    """Return the share of failed episodes that end unchecked, after training on an environment.

    Args:
        evidence: the results.
        label: of the environment.
        less_next: subtract the share of the commonest other failure.
        seed: of the run.

    Raises:
        KeyError: the run has not ended, or no episode has failed.
    """
    failures = evidence.played(alone(label), seed, label)["failures"]
    if not failures["failed"]:
        raise KeyError(label)
    modes = dict(failures["modes"])
    unchecked = modes.pop(UNCHECKED, 0)
    rest = max(modes.values(), default=0) if less_next else 0
    # One number per episode. Where one has both failures they cancel out: the interval is as wide.
    neither = max(0, failures["failed"] - unchecked - rest)
    values = np.repeat([1.0, -1.0, 0.0], [unchecked, rest, neither])
    return {label: Part(values, difference=less_next)}
