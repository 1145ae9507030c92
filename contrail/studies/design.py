"""Which runs an experiment is made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contrail.seeding import generator

EXPERIMENTS = ("within", "transfer", "sequence", "mixture", "interface")
SEQUENTIAL, MIXTURE = "sequential", "mixture"
EASY, HARD = "easy", "hard"
MOST_ORDERS = 6
ORDERED = {EASY: 0, "medium": 1, HARD: 2}
"""Difficulties in words, in their order; numbers have theirs."""

Key = tuple[str, tuple[str, ...]]
"""A run without its seed: the strategy's label, and the names of its stages in order."""


@dataclass(frozen=True)
class Subject:
    """What a study is about.

    Attributes:
        environments: labels.
        strategies: labels of the strategies that learn the sequences.
        interfaces: names of the interface shifts; the columns of each are `shifted(label, name)`.
        most_orders: how many orders of all environments there are at most.
        halves: of the environments that have tasks of several difficulties: the difficulties of
            their easy tasks and of their hard tasks.
    """

    environments: Sequence[str]
    strategies: Sequence[str] = (SEQUENTIAL,)
    interfaces: Sequence[str] = ()
    most_orders: int = MOST_ORDERS
    halves: Mapping[str, Mapping[str, Sequence[str | int]]] | None = None

    @property
    def orders(self) -> list[tuple[str, ...]]:
        """The orders of all environments: all, or the given one, its reverse, and drawn ones."""
        given = tuple(self.environments)
        every = list(itertools.islice(itertools.permutations(given), self.most_orders + 1))
        if len(every) <= self.most_orders:
            return every
        rng = generator(0, "orders of a study")
        found = dict.fromkeys([given, given[::-1]][: self.most_orders])
        while len(found) < self.most_orders:
            found[tuple(given[index] for index in rng.permutation(len(given)))] = None
        return list(found)

    @property
    def beginnings(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The pairs of environments that orders begin with, and the first order that does."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for order in self.orders:
            if len(order) > 1:
                found.setdefault((order[0], order[1]), order)
        return found

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All ordered pairs of environments."""
        return list(itertools.permutations(self.environments, 2))

    @property
    def split(self) -> list[str]:
        """The environments with easy and hard tasks."""
        return [label for label in self.environments if label in (self.halves or {})]


def shifted(label: str, interface: str) -> str:
    """Return the column of an environment behind a shifted interface."""
    return f"{label}~{interface}"


def half(label: str, which: str) -> str:
    """Return the name of a stage on the easy or the hard tasks of an environment."""
    return f"{label}.{which}"


def alone(label: str) -> Key:
    """Return the run of one stage."""
    return SEQUENTIAL, (label,)


def twice(label: str, first: str = "", second: str = "") -> Key:
    """Return the run of two stages of one environment, each on its easy, hard or all tasks."""
    stages = tuple(half(label, which) if which else label for which in (first, second))
    return SEQUENTIAL, stages


def mixture(subject: Subject) -> Key:
    """Return the run that trains on all environments at once."""
    return MIXTURE, tuple(subject.environments)


def runs_of(experiment: str, subject: Subject) -> Iterator[Key]:
    """Yield the runs of an experiment.

    Comparisons are at equal numbers of updates: each run of `within` has two stages, and the
    mixture has the updates of all its stages. Only claim 11 also takes the mixture beside runs on
    one environment, which have that one's share of them.
    """
    if experiment == "within":
        for label in subject.split:
            for first, second in ((EASY, EASY), (HARD, HARD), (EASY, HARD), ("", "")):
                yield twice(label, first, second)
    if experiment in ("transfer", "mixture", "interface"):
        yield from map(alone, subject.environments)
    if experiment in ("sequence", "mixture"):
        for strategy in subject.strategies:
            yield from ((strategy, order) for order in subject.orders)
    if experiment == "mixture":
        yield mixture(subject)
    if experiment == "interface":
        for label, interface in itertools.product(subject.environments, subject.interfaces):
            yield alone(shifted(label, interface))


def ordered(difficulties: set[Any]) -> list[Any]:
    """Return difficulties from easy to hard; none if their order is not known."""
    if all(isinstance(item, int) for item in difficulties):
        return sorted(difficulties)
    if all(item in ORDERED for item in difficulties):
        return sorted(difficulties, key=ORDERED.__getitem__)
    return []
