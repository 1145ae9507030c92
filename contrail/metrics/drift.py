"""Drift: the divergence of the trained policy from earlier ones, as a matrix beside R.

D[i][j] = E KL(pi_i(. | h) || pi_ref(. | h)), over the histories h of the test episodes of
environment j as pi_i plays them: of the policy after stage i from a reference. The references are
the policy before any training (`base`) and the one after the stage before (`previous`). Per episode
the divergences of its decisions are added up, which makes it the divergence of the distributions of
whole episodes; per decision they are averaged within a task.

The direction is that of the policy that acts, at its own histories: it needs no episodes of another
policy. RL's Razor (arXiv:2509.04259) relates forgetting to such a divergence on the new task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contrail.intervals import UNDEFINED, Estimate, mean_of, positive_mean_interval
from contrail.metrics.task_scores import TaskScores

FORMULA = "mean_j KL(policy_T || policy_0) per decision, on j's test episodes as policy_T plays"
KINDS = ("base", "previous")
UNITS = {"per_episode": 0, "per_decision": 1}


def drift(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the matrices of a run, (T + 1, environments), as JSON values; empty without drift.

    For each of `KINDS` and `UNITS` `value` and `interval`, and by row their mean over environments,
    `mean` and `mean_interval`; and the numbers of `tasks` with an episode that has decisions.
    """
    rows = result["evaluations"]
    if not any(played.get("drift") for row in rows for played in row.values()):
        return {}
    names = result["environments"]
    results = TaskScores.read(result, first=0)
    groups = [results.group(name) for name in names]
    found: dict[str, Any] = {}
    for kind in KINDS:
        tasks = [[row[name].get("drift", {}).get(kind, {}) for name in names] for row in rows]
        found[kind] = {"tasks": [[len(cell) for cell in row] for row in tasks]}
        for unit, place in UNITS.items():
            cells = [[_estimate(cell, place) for cell in row] for row in tasks]
            means = [mean_of(row, groups) for row in cells]
            found[kind][unit] = {
                "value": [[cell.value for cell in row] for row in cells],
                "interval": [[cell.interval for cell in row] for row in cells],
                "mean": [mean.value for mean in means],
                "mean_interval": [mean.interval for mean in means],
            }
    return found


def at_the_end(found: Mapping[str, Any]) -> Estimate:
    """Return the mean over environments after the last stage, per decision, to the base."""
    if not found:
        return UNDEFINED
    decisions = found["base"]["per_decision"]
    return Estimate(decisions["mean"][-1], decisions["mean_interval"][-1])


def _estimate(cell: Mapping[str, list[float]], place: int) -> Estimate:
    return positive_mean_interval([values[place] for values in cell.values()])
