"""How much of forgetting the drift explains: a line through the runs of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrail.comparison.gather import Row
from contrail.intervals import LEVEL

FEWEST = 3
X, Y = "drift", "forgetting"


def forgetting_over_drift(rows: Sequence[Row], orders: Sequence[Any]) -> dict[str, Any] | None:
    """Return the points and their fit, as JSON values; None if no run has a drift.

    A point is a run: its `drift` (mean over environments, after the last stage, from the base
    model, nats per decision) and its `forgetting`. Runs that lack one of both are left out, and
    their strategies are named in `left_out`.
    """
    if not any(X in row.result["metrics"] for row in rows):
        return None
    points, missing = [], []
    for row in rows:
        values = {name: row.result["metrics"].get(name) for name in (X, Y)}
        if None in values.values():
            missing.append(row.strategy)
            continue
        place = orders.index(row.order)
        points.append({"strategy": row.strategy, "order": place, "seed": row.seed, **values})
    x, y = ([point[name] for point in points] for name in (X, Y))
    return {"points": points, "left_out": list(dict.fromkeys(missing)), **linear_fit(x, y)}


def linear_fit(x: Sequence[float], y: Sequence[float]) -> Mapping[str, Any]:
    """Return the least-squares line y = intercept + slope x, and how well it fits.

    `r2` is the share of the variance of y over the points that the line explains, the square of
    their correlation. The interval of the slope is Student's t with n - 2 degrees of freedom, that
    of `r2` is Fisher's z of the correlation; both take the points as independent. All are None for
    fewer than three points or if x does not vary, `r2` also if y does not; its interval takes four.
    """
    names = ("slope", "slope_interval", "intercept", "r2", "r2_interval")
    found: dict[str, Any] = dict.fromkeys(names)
    if len(x) < FEWEST or np.ptp(x) == 0:
        return found
    from scipy import stats

    line = stats.linregress(x, y)
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * line.stderr
    found["slope"], found["intercept"] = float(line.slope), float(line.intercept)
    found["slope_interval"] = [float(line.slope - half), float(line.slope + half)]
    if np.ptp(y) == 0:
        return found
    r = float(np.clip(line.rvalue, -1, 1))
    found["r2"] = r**2
    if len(x) > FEWEST and abs(r) < 1:
        width = stats.norm.ppf((1 + LEVEL) / 2) / np.sqrt(len(x) - 3)
        low, high = np.tanh([np.arctanh(r) - width, np.arctanh(r) + width])
        least = 0.0 if low < 0 < high else min(low**2, high**2)
        found["r2_interval"] = [float(least), float(max(low**2, high**2))]
    return found
