"""How much of forgetting the drift explains: a line through the runs of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrail.comparison.gather import Row
from contrail.intervals import LEVEL

FEWEST = 3
EQUAL = 1e-12
"""Relative differences up to this are rounding errors."""
KINDS = {
    "base": "drift from the base model after the last stage",
    "previous": "drift of the stages from the second on, each from the stage before",
}
"""The drifts that forgetting is set over: means over environments, nats per decision."""


def forgetting_over_drift(rows: Sequence[Row], orders: Sequence[Any]) -> dict[str, Any] | None:
    """Return the points and a fit for each of `KINDS`, as JSON values; None if no run has a drift.

    A point is a run, with its `forgetting` and its drift of each kind. Forgetting begins with the
    second stage, so `previous` adds up the stages from there on. Runs that lack forgetting or drift
    are left out, and their strategies are named in `left_out`.
    """
    if not any("drift" in row.result for row in rows):
        return None
    points, missing = [], []
    for row in rows:
        values = {**_drifts(row.result), "forgetting": row.result["metrics"]["forgetting"]}
        if None in values.values():
            missing.append(row.strategy)
            continue
        place = orders.index(row.order)
        points.append({"strategy": row.strategy, "order": place, "seed": row.seed, **values})
    y = [point["forgetting"] for point in points]
    fits = {
        kind: {"x": x, **linear_fit([point[kind] for point in points], y)}
        for kind, x in KINDS.items()
    }
    return {"points": points, "left_out": list(dict.fromkeys(missing)), "fits": fits}


def _drifts(result: Mapping[str, Any]) -> dict[str, float | None]:
    found = result.get("drift")
    if not found:
        return dict.fromkeys(KINDS)
    means = {kind: found[kind]["per_decision"]["mean"] for kind in KINDS}
    later = means["previous"][2 + bool(result.get("warmup")) :]
    return {
        "base": means["base"][-1],
        "previous": None if None in later else float(np.sum(later)),
    }


def linear_fit(x: Sequence[float], y: Sequence[float]) -> Mapping[str, Any]:
    """Return the least-squares line y = intercept + slope x, and how well it fits.

    `r2` is the share of the variance of y over the points that the line explains, the square of
    their correlation. The interval of the slope is Student's t with n - 2 degrees of freedom, that
    of `r2` is Fisher's z of the correlation; both take the points as independent. All are None for
    fewer than three points or if x does not vary; the interval of `r2` takes four. If y does not
    vary, the slope is 0 and the rest None: equal points say nothing of how far others would be off
    the line. Nor do points that all lie on it, so they have no intervals.
    """
    names = ("slope", "slope_interval", "intercept", "r2", "r2_interval")
    found: dict[str, Any] = dict.fromkeys(names)
    if len(x) < FEWEST or _equal(x):
        return found
    if _equal(y):
        return found | {"slope": 0.0, "intercept": float(np.mean(y))}
    from scipy import stats

    line = stats.linregress(x, y)
    found["slope"], found["intercept"] = float(line.slope), float(line.intercept)
    r = float(np.clip(line.rvalue, -1, 1))
    found["r2"] = r**2
    if 1 - abs(r) < EQUAL:
        return found
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * line.stderr
    found["slope_interval"] = [float(line.slope - half), float(line.slope + half)]
    if len(x) > FEWEST:
        width = stats.norm.ppf((1 + LEVEL) / 2) / np.sqrt(len(x) - 3)
        low, high = np.tanh([np.arctanh(r) - width, np.arctanh(r) + width])
        least = 0.0 if low < 0 < high else min(low**2, high**2)
        found["r2_interval"] = [float(least), float(max(low**2, high**2))]
    return found


def _equal(values: Sequence[float]) -> bool:
    return bool(np.ptp(values) <= EQUAL * np.abs(values).max())
