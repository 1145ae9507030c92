"""compare.json: the summary of the runs of a comparison.

A seed is one observation of a strategy: its value is the mean over the orders, which all seeds have
in common. Intervals are over seeds, for the test tasks at hand; `interval_tasks` covers other test
tasks too. Differences are paired seed by seed and task by task. A seed with a missing run is left
out; an undefined value makes the mean undefined.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrail.comparison.estimate import (
    Quantity,
    compared,
    estimated,
    of_runs,
    played,
    played_of,
    quantities,
)
from contrail.comparison.fit import forgetting_over_drift
from contrail.comparison.gather import Row
from contrail.comparison.reference import REFERENCE, forward_transfer
from contrail.comparison.tradeoff import FORMULA as TRADEOFF
from contrail.comparison.tradeoff import tradeoffs
from contrail.intervals import (
    Estimate,
    Interval,
    Score,
    extremes_interval,
    range_interval,
    score_interval,
    seeds_interval,
    seeds_needed,
    sign_flip_p,
    within,
)
from contrail.metrics import drift, reliance
from contrail.metrics.transfer import METRICS, TaskScores
from contrail.runs.sources import differing
from contrail.seeding import generator
from contrail.tables import episode_metrics
from contrail.tasks.selection import TEST_SEED

CONTINUAL_WORLD = "continual_world_forward_transfer"
DRIFT = "drift"
RELIANCE = "interface_reliance"
OF_RUNS = {"worst_environment": (0.0, 1.0), DRIFT: (0.0, math.inf), RELIANCE: (-1.0, 1.0)}
"""Metrics that compare.json takes from each run as they are, and their ranges. (Another environment
is the worst in another run, so its tasks cannot be paired.)"""
FORMULAS = {name: metric.formula for name, metric in METRICS.items()} | {
    CONTINUAL_WORLD: "mean_j (AUC_j - AUC_ref,j) / (1 - AUC_ref,j), AUCs means over seeds",
    DRIFT: drift.FORMULA,
    RELIANCE: reliance.FORMULA,
    "tradeoffs": TRADEOFF,
}
NEEDS = {name: metric.needs for name, metric in METRICS.items()} | {
    CONTINUAL_WORLD: f"learning curves (evaluate.every), runs of the strategy `{REFERENCE}` with "
    "room to improve, and a stage of its own for each environment",
    DRIFT: "evaluate.drift",
    RELIANCE: "an environment that is evaluated with and without `shift: {alias: N}`",
}
ONE_STAGE = "every stage begins with the base model: R is a transfer matrix"
EFFECT = 0.05
"""The difference for which reports say how many seeds would show it."""


def summarise(
    name: str,
    rows: Sequence[Row],
    strategies: Sequence[str],
    orders: Sequence[Sequence[str]],
    seeds: Sequence[int],
    baseline: str,
) -> dict[str, Any]:
    """Return the content of compare.json, except for what a comparison of planned runs adds to it.

    Args:
        name: the name of the comparison.
        rows: finished runs, at least one.
        strategies: labels, in the order of the tables.
        orders: names of the stages; `order` of a row counts them from 0.
        seeds: the seeds of the runs.
        baseline: the strategy to compare the others with.
    """
    first = rows[0]
    environments = first.result["environments"]
    places = [tuple(order) for order in orders]
    found: dict[str, dict[str, Quantity]] = {}
    for label in strategies:
        own = [row for row in rows if row.strategy == label]
        found[label] = quantities(own, places, environments)
        transfer = forward_transfer(own, rows, found[label]["average_score"].seeds)
        found[label][CONTINUAL_WORLD] = Quantity.of_values(transfer or {})
        for key, bounds in OF_RUNS.items():
            found[label][key] = of_runs(own, places, functools.partial(_metric, key), bounds)
    names = _names(rows)
    metrics = episode_metrics(first.result)
    ways = {
        label: played([row for row in rows if row.strategy == label], places, environments, metrics)
        for label in strategies
    }

    def ways_of(label: str, environment: str) -> dict[str, Any]:
        own, base = ways[label][environment], ways.get(baseline, {}).get(environment)
        return estimates(label, own, base, {name: name for name in own})

    def part(label: str, keys: Mapping[str, str]) -> dict[str, Any]:
        return estimates(label, found[label], found.get(baseline), keys)

    def estimates(
        label: str,
        own: Mapping[str, Quantity],
        base: Mapping[str, Quantity] | None,
        keys: Mapping[str, str],
    ) -> dict[str, Any]:
        return {
            shown: {
                **estimated(own[key]),
                "difference": _difference(own[key], base[key])
                if base is not None and label != baseline
                else None,
                "orders": own[key].by_order,
            }
            for shown, key in keys.items()
        }

    return {
        "name": name,
        "title": _title(rows),
        "model": first.result["model"],
        "adapter": first.result["adapter"],
        "environments": environments,
        "strategies": list(strategies),
        "orders": [list(order) for order in orders],
        "seeds": list(seeds),
        "baseline": baseline,
        "formulas": FORMULAS,
        "episode_metrics": metrics,
        "evaluate": first.result["evaluate"],
        "summary": {
            label: {
                "runs": sum(row.strategy == label for row in rows),
                "metrics": part(label, {key: key for key in names}),
                "success": part(label, {item: f"success {item}" for item in environments}),
                "played": {item: ways_of(label, item) for item in environments},
                "budget": _budget([row for row in rows if row.strategy == label]),
                "R": [
                    matrix
                    for place, order in enumerate(places)
                    if (
                        matrix := _matrix(
                            [r for r in rows if r.strategy == label and r.order == order], place
                        )
                    )
                ],
            }
            for label in strategies
        },
        "pairs": [
            {
                "first": one,
                "second": other,
                "metrics": {key: _difference(found[one][key], found[other][key]) for key in names},
            }
            for one, other in itertools.combinations(strategies, 2)
        ],
        "extremes": {key: _extremes([found[label][key] for label in strategies]) for key in names},
        "references": _references(rows, environments),
        "undefined": _undefined(found, rows),
        "forgetting_over_drift": forgetting_over_drift(rows, places),
        "tradeoffs": tradeoffs(rows, places),
        "edited": differing(
            [row.result.get("provenance", {}).get("source_files", {}) for row in rows]
        ),
        "rows": [_record(row, places, found[row.strategy]) for row in rows],
    }


def _title(rows: Sequence[Row]) -> str | None:
    """Return the `name` that the runs' stream has; None if it has none, or runs have several."""
    titles = {row.result.get("title") for row in rows}
    return titles.pop() if len(titles) == 1 else None


def _metric(name: str, row: Row) -> Score:
    value: Score = row.result["metrics"].get(name)
    return value


def _names(rows: Sequence[Row]) -> list[str]:
    """Return the metrics of a comparison; drift and interface reliance are among them if a run has
    measured them."""
    measured = {name for row in rows for name in row.result["metrics"]}
    return [*METRICS, CONTINUAL_WORLD, *(name for name in (DRIFT, RELIANCE) if name in measured)]


def _difference(one: Quantity, other: Quantity) -> dict[str, Any]:
    """one - other, with the p of no difference and the number of seeds it takes to see EFFECT."""
    difference = compared(one, other)
    found = estimated(difference)
    values = [value for value in found["values"] if value is not None]
    whole = found["mean"] is not None
    return {
        **found,
        "p": sign_flip_p(values, generator(TEST_SEED, "sign flips")) if whole else None,
        "seeds_needed": seeds_needed(values, found["noise"], EFFECT) if whole else None,
    }


def _extremes(values: Sequence[Quantity]) -> dict[str, Interval | None]:
    """Return the intervals of the greatest of the strategies' true means (`greatest`), and of the
    greatest less the least (`range`): of the seeds that all have, of the strategies that have it.

    They are cut at what can be true. They allow for the choice, as a strategy's own interval and
    that of a pair do not.
    """
    known = [quantity for quantity in values if quantity.defined]
    shared = [seed for seed in (known[0].seeds if known else ()) if _all_have(known, seed)]
    rows = [[quantity.of_seed(seed).value for quantity in known] for seed in shared]
    table = [[value for value in row if value is not None] for row in rows if None not in row]
    least = min((quantity.bounds[0] for quantity in known), default=0.0)
    most = max((quantity.bounds[1] for quantity in known), default=0.0)
    ends = extremes_interval(table)
    return {
        "greatest": ends and within(ends[0], (least, most)),
        "range": within(range_interval(table), (0.0, most - least)),
    }


def _all_have(values: Sequence[Quantity], seed: int) -> bool:
    return all(seed in quantity.seeds for quantity in values)


def _restarts(row: Row) -> bool:
    return bool(row.result.get("restarts"))


def _budget(rows: Sequence[Row]) -> dict[str, float]:
    """Means over runs."""
    keys = list(rows[0].result["budget"]) if rows else []
    return {key: sum(row.result["budget"][key] for row in rows) / len(rows) for key in keys}


def _matrix(rows: Sequence[Row], order: int) -> dict[str, Any] | None:
    """Return the mean R of a strategy's runs in one order."""
    if not rows:
        return None
    result = rows[0].result
    scores = [TaskScores.read(row.result, first=0).scores for row in rows]

    def cell(name: str, stage: int) -> Estimate:
        own = [each[name][stage] for each in scores]
        together = score_interval(np.concatenate(own))
        return seeds_interval([*map(score_interval, own)], together, (0.0, 1.0))

    cells = [
        [cell(name, stage) for name in result["environments"]] for stage in range(len(result["R"]))
    ]
    return {
        "order": order,
        "seeds": [row.seed for row in rows],
        "environments": result["environments"],
        "stages": result["stages"],
        "trained": result["trained"],
        "R": [[cell.value for cell in row] for row in cells],
        "interval": [[cell.interval for cell in row] for row in cells],
    }


def _undefined(
    found: Mapping[str, Mapping[str, Quantity]], rows: Sequence[Row]
) -> dict[str, dict[str, str]]:
    """For each metric, why it is undefined, by strategy."""
    reasons: dict[str, dict[str, str]] = {}
    for label, values in found.items():
        alone = any(_restarts(row) for row in rows if row.strategy == label)
        for name in _names(rows):
            if not values[name].defined:
                reason = ONE_STAGE if alone and name in METRICS else f"needs {NEEDS[name]}"
                reasons.setdefault(name, {})[label] = reason
    return reasons


def _references(rows: Sequence[Row], environments: Sequence[str]) -> dict[str, dict[str, Score]]:
    """Return reference scores, by name and environment.

    These are players without a model, which all runs have in common, and the base model, a mean
    over the runs.
    """
    found: dict[str, dict[str, Score]] = {}
    for player in ("random", "expert"):
        found[player] = dict.fromkeys(environments)
        for row in rows:
            for name, players in row.result.get("baselines", {}).items():
                if players.get(player) is not None:
                    found[player][name] = players[player]["success"]
    found["base"] = {}
    for name in environments:
        scores = [row.result["R"][0][row.result["environments"].index(name)] for row in rows]
        known = [score for score in scores if score is not None]
        found["base"][name] = sum(known) / len(known) if known else None
    return found


def _record(row: Row, orders: Sequence[Any], found: Mapping[str, Quantity]) -> dict[str, Any]:
    kept = ("environments", "stages", "trained", "R", "budget")
    place = orders.index(row.order)
    values = {key: quantity.of_run(row.seed, place) for key, quantity in found.items()}
    values |= {name: row.result["metrics"].get(name) for name in OF_RUNS}
    return {
        "run": str(row.files.path),
        "strategy": row.strategy,
        "order": place,
        "seed": row.seed,
        "metrics": {name: values[name] for name in _names([row])},
        "success": {name: values[f"success {name}"] for name in row.result["environments"]},
        "played": played_of(row.result),
        **{name: row.result[name] for name in kept},
    }
