"""How often contrail's 95% intervals hold the truth: `python -m benchmarks.coverage`.

Test tasks are played by simulated policies whose chances of success are known. Of one run the
coverage is exact, by adding up the probabilities of all outcomes; over seeds it is simulated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import typer

from contrail.comparison.estimate import Quantity, compared, estimated
from contrail.intervals import (
    Estimate,
    difference_interval,
    extremes_interval,
    positive_mean_interval,
    range_interval,
    score_interval,
    seeds_interval,
    tasks_and_seeds_interval,
)
from contrail.metrics.transfer import Part

CHANCES = (0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98)
TASKS = (8, 16, 32, 64, 128)
SEEDS = (2, 3, 5, 10)
SPREAD = 0.05
"""Standard deviation of the chance of success over training seeds."""


TAILS = {
    "half-normal": lambda rng, size: np.abs(rng.normal(size=size)) / np.sqrt(2 / np.pi),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "log-normal": lambda rng, size: rng.lognormal(-0.5, 1.0, size=size),
}
"""Distributions of a task's drift, of mean 1: the longer the tail, the harder."""


@dataclass(frozen=True)
class Coverage:
    """How often one kind of interval holds the truth in one setting.

    `truth`: the chance of success, or the difference of two; 1 of drifts.
    """

    kind: str
    tasks: int
    seeds: int
    truth: float
    held: float


def cells(tasks: Sequence[int] = TASKS) -> Iterator[Coverage]:
    """Of a cell of R, one sample per task: exact."""
    from scipy.stats import binom

    for count in tasks:
        solved = np.arange(count + 1)
        ends = [score_interval([1.0] * k + [0.0] * (count - k)).interval or [0, 0] for k in solved]
        for chance in CHANCES:
            holds = [low <= chance <= high for low, high in ends]
            held = float(binom.pmf(solved, count, chance)[holds].sum())
            yield Coverage("cell", count, 1, chance, held)


def changes(tasks: Sequence[int] = TASKS) -> Iterator[Coverage]:
    """Of a change against the base model, one sample per task: exact.

    The dice are common to both rows, for half of the tasks; the others fall independently.
    """
    from scipy.stats import binom

    for count in tasks:
        ends: dict[tuple[int, int], list[float]] = {}
        for before, after in itertools.product(CHANCES, CHANCES):
            common = max(0.0, after - before), max(0.0, before - after)
            apart = after * (1 - before), before * (1 - after)
            gain, loss = ((x + y) / 2 for x, y in zip(common, apart, strict=True))
            held = 0.0
            gained = binom.pmf(np.arange(count + 1), count, gain)
            for up in np.flatnonzero(gained > 1e-6):
                lost = binom.pmf(np.arange(count - up + 1), count - up, loss / (1 - gain))
                for down in np.flatnonzero(lost * gained[up] > 1e-7):
                    key = (int(up), int(down))
                    if key not in ends:
                        flat = [1.0] * key[0] + [-1.0] * key[1] + [0.0] * (count - sum(key))
                        ends[key] = difference_interval(flat).interval or [0, 0]
                    low, high = ends[key]
                    held += float(gained[up] * lost[down]) * (low <= after - before <= high)
            yield Coverage("change", count, 1, after - before, held)


def drifts(repeats: int, tasks: Sequence[int] = TASKS) -> Iterator[Coverage]:
    """Of a drift, whose distribution over tasks is one of `TAILS`: simulated."""
    rng = np.random.default_rng(0)
    for count, (name, draw) in itertools.product(tasks, TAILS.items()):
        held = 0
        for _ in range(repeats):
            low, high = positive_mean_interval(draw(rng, count)).interval or [0, 0]
            held += low <= 1.0 <= high
        yield Coverage(f"drift, {name}", count, 1, 1.0, held / repeats)


def over_seeds(
    repeats: int, tasks: Sequence[int] = (8, 32, 128), seeds: Sequence[int] = SEEDS
) -> Iterator[Coverage]:
    """Over training seeds: success, its change, the difference of two strategies, and other tasks.

    The chances of success are drawn for each seed; the dice are common to all rows and strategies
    of a seed.
    """
    rng = np.random.default_rng(0)
    for count, number, chance in itertools.product(tasks, seeds, (0.02, 0.1, 0.3, 0.5, 0.9, 0.98)):
        spread = min(SPREAD, min(chance, 1 - chance) / 2)
        weight = chance * (1 - chance) / spread**2 - 1
        a, b = weight * chance, weight * (1 - chance)
        base = chance / 2 if chance > 0.5 else (chance + 1) / 2
        held = dict.fromkeys(("success", "change", "strategies", "tasks and seeds"), 0)
        for _ in range(repeats):
            dice = rng.random((number, count))
            one, other = (dice < rng.beta(a, b, (2, number, 1))).astype(float)
            before = (dice < base).astype(float)
            found = {
                "success": (
                    seeds_interval(
                        [*map(score_interval, one)], score_interval(one.ravel()), (0.0, 1.0)
                    ),
                    chance,
                ),
                "change": (
                    seeds_interval(
                        [*map(difference_interval, one - before)],
                        difference_interval((one - before).ravel()),
                    ),
                    chance - base,
                ),
                "strategies": (_compared(one, other), 0.0),
            }
            # Of tasks that differ in difficulty, another draw for each test.
            hard = rng.beta(2 * chance, 2 * (1 - chance), count)
            played = (rng.random((number, count)) < hard).astype(float)
            both = tasks_and_seeds_interval([(played, False)])
            found["tasks and seeds"] = (Estimate(None, both), chance)
            for kind, (estimate, truth) in found.items():
                low, high = estimate.interval or [0.0, 0.0]
                held[kind] += low - 1e-9 <= truth <= high + 1e-9
        for kind, times in held.items():
            yield Coverage(kind, count, number, chance, times / repeats)


def of_extremes(
    repeats: int, seeds: Sequence[int] = SEEDS[1:], columns: int = 6
) -> Iterator[tuple[str, int, float, float]]:
    """Of the greatest of several strategies' means, and of the greatest less the least: simulated.

    No strategy is better than another, the hardest case. Seeds move all of them alike, and each by
    itself, normally.

    Yields:
        how they scatter, the number of seeds, and the coverage of `greatest` and of `range`.
    """
    rng = np.random.default_rng(0)
    deviations = {
        "all alike": np.full(columns, SPREAD),
        "one three times as much": np.array([3 * SPREAD] + [SPREAD] * (columns - 1)),
        "one a tenth": np.array([SPREAD / 10] + [SPREAD] * (columns - 1)),
    }
    for number, (name, spread) in itertools.product(seeds, deviations.items()):
        held = np.zeros(2)
        for _ in range(repeats):
            scores = (
                rng.normal(size=(number, 1)) * SPREAD + rng.normal(size=(number, columns)) * spread
            )
            greatest, _ = extremes_interval(scores) or ([0.0, 0.0], [])
            low, _ = range_interval(scores) or [0.0, 0.0]
            held += greatest[0] <= 0 <= greatest[1], low <= 0
        yield name, number, *(held / repeats)


def _compared(one: np.ndarray, other: np.ndarray) -> Estimate:
    """Return the difference of two strategies' success, as `contrail compare` takes it."""
    quantities = [
        Quantity({seed: {0: {"a": Part(row, difference=False)}} for seed, row in enumerate(rows)})
        for rows in (one, other)
    ]
    found = estimated(compared(*quantities))
    return Estimate(found["mean"], found["interval"])


def table(found: Sequence[Coverage]) -> str:
    """Least and mean coverage by kind and number of seeds (rows) and of tasks, as Markdown."""
    heads = ["interval of", "seeds", *(f"{count} tasks" for count in TASKS)]
    lines = [heads, ["---"] * len(heads)]
    for kind, seeds in dict.fromkeys((item.kind, item.seeds) for item in found):
        cells = []
        for count in TASKS:
            held = [
                item.held
                for item in found
                if (item.kind, item.seeds, item.tasks) == (kind, seeds, count)
            ]
            cells.append(f"{min(held):.3f}, {np.mean(held):.3f}" if held else "")
        lines.append([kind, str(seeds) if seeds > 1 else "–", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def extremes_table(found: Iterable[tuple[str, int, float, float]]) -> str:
    """Return what `of_extremes` found, as Markdown."""
    lines = ["| seeds scatter | seeds | best | best less worst |", "| --- | --- | --- | --- |"]
    for name, seeds, greatest, between in sorted(found):
        lines.append(f"| {name} | {seeds} | {greatest:.3f} | {between:.3f} |")
    return "\n".join(lines)


def main(repeats: int = 2000) -> None:
    """Print the tables of docs/metrics.md."""
    found = [*cells(), *changes(), *drifts(repeats), *over_seeds(repeats)]
    drifting = [f"drift, {name}" for name in TAILS]
    order = ["cell", "change", *drifting, "success", "strategies", "tasks and seeds"]
    found.sort(key=lambda item: (order.index(item.kind), item.seeds, item.tasks))
    print(table(found))
    print()
    print(extremes_table(of_extremes(repeats)))


if __name__ == "__main__":
    typer.run(main)
