"""Quantities of a strategy by seed and order, their estimates over seeds, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrail.comparison.gather import Row
from contrail.intervals import (
    Array,
    Estimate,
    Interval,
    Score,
    mean_of,
    seeds_interval,
    tasks_and_seeds_interval,
)
from contrail.metrics.episode import range_of
from contrail.metrics.transfer import METRICS, Part, TaskScores, estimate
from contrail.tables import episode_metrics

Order = tuple[str, ...]
Parts = Mapping[str, Part]


@dataclass
class Quantity:
    """One number of a strategy: a metric, or success on one environment.

    `parts[seed][order]`: what each environment adds, task by task. `values`: by seed, for a number
    that is not a mean over tasks. `orders`: how many there are; a seed counts if it has them all.
    """

    parts: dict[int, dict[int, Parts]] = field(default_factory=dict)
    values: dict[int, Score] = field(default_factory=dict)
    orders: int = 1
    bounds: tuple[float, float] = (-1.0, 1.0)

    @classmethod
    def of_values(
        cls, values: Mapping[int, Score], bounds: tuple[float, float] = (-np.inf, np.inf)
    ) -> Quantity:
        """From one number per seed."""
        return cls(values=dict(values), bounds=bounds)

    @property
    def seeds(self) -> list[int]:
        """The seeds that count."""
        whole = [seed for seed, orders in self.parts.items() if len(orders) == self.orders]
        return whole or list(self.values)

    @property
    def defined(self) -> bool:
        """Whether every run has a value, and there is one."""
        runs = [run for orders in self.parts.values() for run in orders.values()]
        values = [estimate(run).value for run in runs]
        return bool(values or self.values) and None not in (*values, *self.values.values())

    @property
    def by_order(self) -> list[Score]:
        """The mean over seeds for each order; None if it is undefined."""
        means = []
        for order in range(self.orders):
            runs = [of[order] for of in self.parts.values() if order in of]
            values = [estimate(run) for run in runs]
            means.append(mean_of(values).value)
        return means

    def of_run(self, seed: int, order: int) -> Score:
        """Return the value of one run; of a number that is not of single runs, that of the seed."""
        if self.values:
            return self.values.get(seed)
        run = self.parts.get(seed, {}).get(order, {})
        return estimate(run).value

    def of_seed(self, seed: int) -> Estimate:
        """Return the mean over the orders of one seed, with its interval over tasks and dice.

        Orders share tasks and dice, so their intervals are averaged and not narrowed.
        """
        if self.values:
            return Estimate(self.values[seed], None)
        runs = [estimate(run) for run in self.parts[seed].values()]
        value = mean_of(runs).value
        ends = [run.interval for run in runs if run.interval is not None]
        if value is None or len(ends) < len(runs):
            return Estimate(value, None)
        low, high = np.mean(ends, axis=0)
        return Estimate(value, [float(low), float(high)])

    def together(self) -> Estimate:
        """Return the estimate from the tasks of all seeds as one sample."""
        contributions = _contributions(self)
        return mean_of(
            [
                Part(np.concatenate(item.rows), item.part.difference).estimate()
                for item in contributions.values()
            ],
            [item.part.group or name for name, item in contributions.items()],
            [item.weight for item in contributions.values()],
        )


def quantities(
    rows: Sequence[Row], orders: Sequence[Order], environments: Sequence[str]
) -> dict[str, Quantity]:
    """Return all metrics by name, and `success ENVIRONMENT` at the end, of one strategy's runs."""
    names = [*METRICS, *(f"success {name}" for name in environments)]
    found = {name: Quantity(orders=len(orders)) for name in names}
    for name in names[len(METRICS) :]:
        found[name].bounds = (0.0, 1.0)
    for name in ("average_score", "turnover", "gained"):
        found[name].bounds = (0.0, 1.0)
    for row in rows:
        results = TaskScores.read(row.result)
        place = orders.index(row.order)
        restarts = bool(row.result.get("restarts"))
        for name, metric in METRICS.items():
            # If every stage begins anew, no agent goes from stage to stage.
            parts = {} if restarts else metric.parts(results)
            found[name].parts.setdefault(row.seed, {})[place] = parts
        for name, scores in results.scores.items():
            quantity = found[f"success {name}"]
            stage = results.own_stage(name) if restarts else results.stages
            parts = {} if stage is None else {name: Part(scores[stage], difference=False)}
            quantity.parts.setdefault(row.seed, {})[place] = parts
    return found


def of_runs(
    rows: Sequence[Row],
    orders: Sequence[Order],
    value: Callable[[Row], Score],
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Quantity:
    """Return a number of each run that is not a mean over tasks.

    `bounds`: what it should be within. Values of a plugin that are not count as they are.

    A seed's value is the mean over its orders: undefined if it is in one of them. A seed that lacks
    a run is left out. If no run has a value, there are none.
    """
    values: dict[int, list[Score]] = {}
    for row in rows:
        values.setdefault(row.seed, []).append(value(row))
    known = [number for own in values.values() for number in own if number is not None]
    if not known:
        return Quantity.of_values({}, bounds)
    whole = {seed: own for seed, own in values.items() if len(own) == len(orders)}
    return Quantity.of_values(
        {
            seed: None
            if None in own
            else float(np.mean([number for number in own if number is not None]))
            for seed, own in whole.items()
        },
        (min(bounds[0], *known), max(bounds[1], *known)),
    )


def played(
    rows: Sequence[Row],
    orders: Sequence[Order],
    environments: Sequence[str],
    metrics: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Quantity]]:
    """Return the metrics of an episode at the end, by environment and name, of one strategy's
    runs. `metrics`: their descriptions.

    For the values of seeds see `of_runs`.
    """
    found: dict[str, dict[str, Quantity]] = {environment: {} for environment in environments}
    for environment in environments:
        for name, about in metrics.items():

            def value(row: Row, environment: str = environment, name: str = name) -> Score:
                played: Score = _at_the_end(row.result, environment).get(name)
                return played

            found[environment][name] = of_runs(rows, orders, value, range_of(about))
    return found


def played_of(result: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """Return the metrics of an episode at the end of one run, by environment and name."""
    return {
        environment: {
            name: _at_the_end(result, environment).get(name) for name in episode_metrics(result)
        }
        for environment in result["environments"]
    }


def _at_the_end(result: Mapping[str, Any], environment: str) -> Mapping[str, Any]:
    """Return the last evaluation of an environment; if every stage begins anew, that of its own
    stage."""
    stage = len(result["stages"])
    if result.get("restarts"):
        own = TaskScores.read(result, first=0).own_stage(environment)
        if own is None:
            return {}
        stage = own
    evaluation: Mapping[str, Any] = result["evaluations"][stage].get(environment, {})
    return evaluation


def estimated(quantity: Quantity) -> dict[str, Any]:
    """Mean and intervals over the seeds that count, as JSON values.

    `noise` is the interval of all seeds' tasks as one sample; `interval` is never narrower.
    """
    runs = [quantity.of_seed(seed) for seed in quantity.seeds]
    together = quantity.together()
    over_seeds = seeds_interval(runs, together, quantity.bounds)
    return {
        "mean": over_seeds.value,
        "interval": over_seeds.interval,
        "interval_tasks": _over_tasks_too(quantity, over_seeds.interval),
        "noise": together.interval,
        "seeds": len(runs),
        "values": [run.value for run in runs],
    }


def _over_tasks_too(quantity: Quantity, interval: Interval | None) -> Interval | None:
    """Return the interval over tasks and seeds, never narrower than the one over seeds."""
    contributions = _contributions(quantity)
    if any(len({len(row) for row in item.rows}) > 1 for item in contributions.values()):
        return None  # seeds have other tasks
    both = tasks_and_seeds_interval(
        [(np.array(item.rows), item.part.difference) for item in contributions.values()],
        [item.part.group or name for name, item in contributions.items()],
        [item.weight for item in contributions.values()],
    )
    if interval is None or both is None:
        return None
    least, most = quantity.bounds
    return [max(least, min(interval[0], both[0])), min(most, max(interval[1], both[1]))]


def compared(one: Quantity, other: Quantity) -> Quantity:
    """one - other, run by run and task by task, for the seeds and orders that both have."""
    (least, most), (low, high) = one.bounds, other.bounds
    bounds = (least - high, most - low)
    if one.values or other.values:
        pairs = {
            seed: (one.values[seed], other.values[seed])
            for seed in one.values
            if seed in other.values
        }
        return Quantity.of_values({seed: _less(*pair) for seed, pair in pairs.items()}, bounds)
    difference = Quantity(orders=one.orders, bounds=bounds)
    for seed in one.seeds:
        if seed not in other.seeds:
            continue
        difference.parts[seed] = {
            order: _minus(run, other.parts[seed][order]) for order, run in one.parts[seed].items()
        }
    return difference


def _less(one: Score, other: Score) -> Score:
    return None if one is None or other is None else one - other


def _minus(one: Parts, other: Parts) -> Parts:
    """Task by task; undefined where the two are over different environments."""
    if set(one) == set(other):
        return {
            name: Part(part.values - other[name].values, group=part.group)
            for name, part in one.items()
        }
    return {}


@dataclass(frozen=True)
class _Contribution:
    """What one environment adds to a quantity.

    `rows`: by seed (tasks,), the mean over the orders that are over the environment. `weight`: with
    which their mean counts; those of all environments add up to 1. `part`: one that they are of.
    """

    rows: list[Array]
    weight: float
    part: Part


def _contributions(quantity: Quantity) -> dict[str, _Contribution]:
    """Return what each environment adds.

    Orders count alike, and in an order the environments that it is over, which may be others than
    in another order. Empty where a run has no value, and where the runs of seeds are over other
    environments, or those of orders over other tasks.
    """
    seeds = [quantity.parts[seed] for seed in quantity.seeds if quantity.parts]
    first = seeds[0] if seeds else {}
    alike = all(set(runs[order]) == set(run) for runs in seeds for order, run in first.items())
    if not alike or not all(first.values()):
        return {}
    found = {}
    for name in sorted({name for run in first.values() for name in run}):
        orders = [order for order, run in first.items() if name in run]
        weights = [1 / (len(first) * len(first[order])) for order in orders]
        rows = []
        for runs in seeds:
            values = [runs[order][name].values for order in orders]
            if len({len(item) for item in values}) > 1:
                return {}
            rows.append(np.average(values, axis=0, weights=weights))
        found[name] = _Contribution(rows, sum(weights), first[orders[0]][name])
    return found
