"""compare.json: what the runs of a comparison say together.

A seed is one observation of a strategy: its value is the mean over the orders, which all seeds
have in common. Intervals are over seeds, and differences are paired seed by seed. A seed of which a
run is missing is left out; an undefined value makes the mean undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contrail.compare.gather import Row
from contrail.compare.reference import REFERENCE, forward_transfer
from contrail.metrics import METRICS, Score, t_interval

Value = Callable[[Row], Score]

CONTINUAL_WORLD = "continual_world_forward_transfer"
FORMULAS = {name: metric.formula for name, metric in METRICS.items()} | {
    CONTINUAL_WORLD: "mean_j (AUC_j - AUC_ref,j) / (1 - AUC_ref,j)"
}
NEEDS = {name: metric.needs for name, metric in METRICS.items()} | {
    CONTINUAL_WORLD: f"runs of the strategy `{REFERENCE}` with room to improve, and a stage of its "
    "own for each environment"
}
ONE_STAGE = "every stage begins with the base model: R is a transfer matrix"


def summarise(
    name: str,
    rows: Sequence[Row],
    strategies: Sequence[str],
    orders: Sequence[Sequence[str]],
    seeds: Sequence[int],
    baseline: str,
) -> dict[str, Any]:
    """The content of compare.json, but for what a comparison of planned runs adds to it.

    Args:
        name: of the comparison.
        rows: finished runs, at least one.
        strategies: labels, in the order of the tables.
        orders: names of the stages; `order` of a row counts them from 0.
        seeds: of the runs.
        baseline: the strategy that the others are compared with.
    """
    first = rows[0]
    transfers = {id(row): forward_transfer(row, rows) for row in rows}
    metrics: dict[str, Value] = {metric: _of_metric(metric) for metric in METRICS}
    metrics[CONTINUAL_WORLD] = lambda row: transfers[id(row)]
    environments = first.result["environments"]
    final: dict[str, Value] = {item: _of_environment(item) for item in environments}
    by_label = {label: [row for row in rows if row.strategy == label] for label in strategies}
    places = [tuple(order) for order in orders]

    def compared(values: dict[str, Value], label: str) -> dict[str, Any]:
        found = {}
        for key, value in values.items():
            own = _by_seed(by_label[label], value, places)
            base = _by_seed(by_label.get(baseline, []), value, places)
            both = [seed for seed in own if seed in base]
            found[key] = {
                **_estimate(list(own.values())),
                "difference": _estimate([_minus(own[seed], base[seed]) for seed in both])
                if label != baseline
                else None,
                "orders": _by_order(by_label[label], value, places),
            }
        return found

    return {
        "name": name,
        "model": first.result["model"],
        "adapter": first.result["adapter"],
        "environments": environments,
        "strategies": list(strategies),
        "orders": [list(order) for order in orders],
        "seeds": list(seeds),
        "baseline": baseline,
        "formulas": FORMULAS,
        "summary": {
            label: {
                "runs": len(by_label[label]),
                "metrics": compared(metrics, label),
                "success": compared(final, label),
                "budget": _budget(by_label[label]),
                "R": [
                    matrix
                    for place, order in enumerate(places)
                    if (matrix := _matrix([r for r in by_label[label] if r.order == order], place))
                ],
            }
            for label in strategies
        },
        "undefined": _undefined(metrics, by_label),
        "references": _references(rows, environments),
        "rows": [_record(row, places, metrics, final) for row in rows],
    }


def _of_metric(name: str) -> Value:
    def value(row: Row) -> Score:
        score: Score = row.result["metrics"][name]
        return score

    return value


def _of_environment(name: str) -> Value:
    """Success at the end; where every stage restarts, after the environment's own last one."""

    def value(row: Row) -> Score:
        result = row.result
        stages = [i for i, names in enumerate(result["trained"], start=1) if name in names]
        last = len(result["R"]) - 1
        stage = last if not _restarts(row) else stages[-1] if stages else None
        if stage is None:
            return None
        score: Score = result["R"][stage][result["environments"].index(name)]
        return score

    return value


def _restarts(row: Row) -> bool:
    return bool(row.result.get("restarts"))


def _by_seed(rows: Sequence[Row], value: Value, orders: Sequence[Any]) -> dict[int, Score]:
    """The mean over all orders, of each seed that has them all."""
    found: dict[int, Score] = {}
    for seed in dict.fromkeys(row.seed for row in rows):
        own = {row.order: row for row in rows if row.seed == seed}
        if len(own) == len(orders):
            found[seed] = t_interval([value(own[order]) for order in orders])[0]
    return found


def _by_order(rows: Sequence[Row], value: Value, orders: Sequence[Any]) -> list[Score]:
    """The mean over seeds, for each order; None where there is none."""
    return [t_interval([value(row) for row in rows if row.order == order])[0] for order in orders]


def _estimate(values: Sequence[Score]) -> dict[str, Any]:
    mean, interval = t_interval(values)
    return {"mean": mean, "interval": interval, "seeds": len(values), "values": list(values)}


def _minus(a: Score, b: Score) -> Score:
    return None if a is None or b is None else a - b


def _budget(rows: Sequence[Row]) -> dict[str, float]:
    """Means over runs."""
    keys = list(rows[0].result["budget"]) if rows else []
    return {key: sum(row.result["budget"][key] for row in rows) / len(rows) for key in keys}


def _matrix(rows: Sequence[Row], order: int) -> dict[str, Any] | None:
    """The mean R of a strategy's runs in one order."""
    if not rows:
        return None
    result = rows[0].result
    cells = [
        [
            t_interval([row.result["R"][i][j] for row in rows])
            for j in range(len(result["environments"]))
        ]
        for i in range(len(result["R"]))
    ]
    return {
        "order": order,
        "seeds": [row.seed for row in rows],
        "environments": result["environments"],
        "stages": result["stages"],
        "trained": result["trained"],
        "R": [[mean for mean, _ in row] for row in cells],
        "interval": [[interval for _, interval in row] for row in cells],
    }


def _undefined(
    metrics: dict[str, Value], by_label: dict[str, list[Row]]
) -> dict[str, dict[str, str]]:
    """For each metric, why it is undefined, by strategy."""
    found: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        for label, rows in by_label.items():
            if any(value(row) is None for row in rows):
                alone = _restarts(rows[0]) and name in METRICS
                reason = ONE_STAGE if alone else f"needs {NEEDS[name]}"
                found.setdefault(name, {})[label] = reason
    return found


def _references(rows: Sequence[Row], environments: Sequence[str]) -> dict[str, dict[str, Score]]:
    """By name and environment, the success of what all strategies stand beside: players without a
    model, which all runs have in common, and the base model, a mean over the runs."""
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


def _record(
    row: Row, orders: Sequence[Any], metrics: dict[str, Value], final: dict[str, Value]
) -> dict[str, Any]:
    kept = ("environments", "stages", "trained", "R", "budget")
    return {
        "run": str(row.files.path),
        "strategy": row.strategy,
        "order": orders.index(row.order),
        "seed": row.seed,
        "metrics": {name: value(row) for name, value in metrics.items()},
        "success": {name: value(row) for name, value in final.items()},
        **{name: row.result[name] for name in kept},
    }
