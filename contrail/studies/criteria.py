"""When a claim holds: the rule is stated before the data.

A criterion is a difference and the region in which the claim wants it. It holds if the 95% interval
over seeds lies within the region, does not hold if the interval lies outside, and cannot be told
otherwise, or if there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from contrail.comparison.estimate import Quantity, estimated
from contrail.intervals import UNDEFINED, Estimate

Verdict = Literal["holds", "does not hold", "cannot be told"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
OPEN: Verdict = "cannot be told"

EQUAL = 0.05
"""Differences of success within this are about equal, and held-out gains within it small."""
LARGE = 0.10
"""Held-in gains above this are large."""
OFTEN = 0.10
"""Failures with a greater share of the failed episodes are frequent."""
MISSING = "a run has not ended, or lacks what this takes"


@dataclass(frozen=True)
class Criterion:
    """A difference, and where a claim wants it.

    Attributes:
        text: what it is the difference of.
        quantity: by seed; an estimate over seeds, if its interval is not that of a mean of them;
            None if the study lacks what it takes.
        low: the claim wants it above this.
        high: the claim wants it below this.
        needed: it is no part of the claim, but without it the claim says nothing.
        reason: why there is no quantity.
    """

    text: str
    quantity: Quantity | Estimate | None
    low: float = -math.inf
    high: float = math.inf
    needed: bool = False
    reason: str = ""

    @property
    def region(self) -> str:
        """The region in words."""
        if math.isinf(self.high):
            return f"above {self.low:g}"
        if math.isinf(self.low):
            return f"below {self.high:g}"
        return f"within {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Judged:
    """A criterion with its figures."""

    text: str
    region: str
    needed: bool
    mean: float | None
    interval: list[float] | None
    seeds: int
    verdict: Verdict
    reason: str


def judge(criterion: Criterion) -> Judged:
    """Apply the rule to one criterion."""
    found = _estimate(criterion.quantity)
    reason = criterion.reason
    if not reason and found.interval is None:
        reason = MISSING
        if found.count:
            one = found.count == 1
            reason = "one seed" if one else f"all {found.count} seeds agree to the last digit"
    verdict = OPEN
    if found.interval is not None and not criterion.reason:
        low, high = found.interval
        if criterion.low < low and high < criterion.high:
            verdict = HOLDS
        elif high <= criterion.low or low >= criterion.high:
            verdict = FAILS
    return Judged(
        criterion.text,
        criterion.region,
        criterion.needed,
        found.value,
        found.interval,
        found.count,
        verdict,
        reason,
    )


def _estimate(quantity: Quantity | Estimate | None) -> Estimate:
    if isinstance(quantity, Estimate):
        return quantity
    if quantity is None or not quantity.defined:
        return UNDEFINED
    found = estimated(quantity)
    return Estimate(found["mean"], found["interval"], found["seeds"])


def together(criteria: Sequence[Judged]) -> tuple[Verdict, str]:
    """Return the verdict of a claim with several criteria, and why it cannot be told.

    It holds if all hold, and does not hold if one does not. Without a needed one it cannot be told:
    a model that has learnt nothing has forgotten nothing either.
    """
    for item in criteria:
        if item.needed and item.verdict != HOLDS:
            return OPEN, item.reason or f"not shown: {item.text} {item.region}"
    verdicts = [item.verdict for item in criteria if not item.needed]
    if FAILS in verdicts:
        return FAILS, ""
    if all(verdict == HOLDS for verdict in verdicts):
        return HOLDS, ""
    reasons = [item.reason for item in criteria if item.verdict == OPEN]
    return OPEN, reasons[0] or "the interval is too wide"
