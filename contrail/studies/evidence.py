"""The results of a study's runs, as quantities over seeds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contrail.comparison.estimate import Parts, Quantity
from contrail.intervals import Array
from contrail.metrics.transfer import Part, TaskScores, estimate, worst_of
from contrail.studies.design import Key, Subject

FIRST, LAST = 0, -1
"""Rows of R: before any training (after the warm start), and at the end."""


class Missing(KeyError):
    """A run has ended, and lacks what a quantity takes: no task of a column has a score, say."""


Term = Callable[[int], Parts]
"""What one run, or one difference of runs, adds to a quantity, by seed: parts of a metric."""


@dataclass
class Evidence:
    """The results of a study.

    Attributes:
        subject: what it is about.
        results: the content of result.json, by run and seed.
        seeds: all that were planned.
        checking: the environments whose actions say when an agent is done, and when it checks.
    """

    subject: Subject
    results: Mapping[Key, Mapping[int, Mapping[str, Any]]]
    seeds: Sequence[int]
    checking: Collection[str] = ()
    _scores: dict[int, TaskScores] = field(default_factory=dict, repr=False)

    def scores(self, run: Key, seed: int) -> TaskScores:
        """Return the scores of a run.

        Raises:
            KeyError: it has not ended.
        """
        result = self.results[run][seed]
        if id(result) not in self._scores:
            self._scores[id(result)] = TaskScores.read(result, first=0)
        return self._scores[id(result)]

    def score(self, run: Key, column: str, row: int = LAST, among: Sequence[Any] = ()) -> Term:
        """Return the success on a column at a row of R.

        Args:
            run: which.
            column: a column of R.
            row: of R.
            among: difficulties; only tasks of these count. Without any, all count.
        """

        def term(seed: int) -> Parts:
            scores = self.scores(run, seed)
            values = scores.scores[column][row][self._among(run, seed, column, among)]
            return {column: Part(values, difference=False, group=scores.group(column))}

        return term

    def change(
        self,
        before: tuple[Key, int],
        after: tuple[Key, int],
        column: str,
        among: Sequence[Any] = (),
    ) -> Term:
        """Return the change of the success on a column, task by task.

        Args:
            before: a run and a row of its R.
            after: likewise.
            column: a column of R.
            among: difficulties; only tasks of these count. Without any, all count.
        """
        rows = [self.score(run, column, row, among) for run, row in (before, after)]

        def term(seed: int) -> Parts:
            one, other = (row(seed)[column] for row in rows)
            return {column: Part(other.values - one.values, group=one.group)}

        return term

    def quantity(self, terms: Iterable[Term], bounds: tuple[float, float] = (-1, 1)) -> Quantity:
        """Return the mean of several terms; a seed counts if it has them all.

        Terms share tasks and dice, so that more of them do not narrow the interval within a run.
        """
        listed = list(terms)
        found = Quantity(orders=len(listed), bounds=bounds)
        for seed in self.seeds:
            try:
                parts = {place: term(seed) for place, term in enumerate(listed)}
            except KeyError:  # a run that this takes has not ended, or lacks it
                continue
            if parts:
                found.parts[seed] = parts
        return found

    def of_seeds(
        self,
        value: Callable[[int], float | None],
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> Quantity:
        """Return a number that is not a mean over tasks; a seed without it does not count.

        Args:
            value: the number of a seed.
            bounds: of what can be true at all.
        """
        values = {}
        for seed in self.seeds:
            try:
                number = value(seed)
            except KeyError:  # a run that this takes has not ended, or lacks it
                continue
            if number is not None:
                values[seed] = number
        return Quantity.of_values(values, bounds)

    def mean(self, run: Key, seed: int, column: str, row: int = LAST) -> float:
        """Return the success on a column at a row of R.

        Raises:
            KeyError: the run has not ended, or no task of the column has a score.
        """
        values = self.scores(run, seed).scores[column][row]
        if np.isnan(values).all():  # all episodes were lost to faults
            raise Missing(column)
        return float(np.nanmean(values))

    def worst(self, run: Key, seed: int, columns: Sequence[str], row: int = LAST) -> float:
        """Return the success on the worst of some columns at a row of R.

        It is chosen and measured on different tasks, as in the metric `worst_environment`: the
        least of noisy scores is too low, and the lower the closer they are.

        Raises:
            KeyError: the run has not ended, or half of the tasks of a column have no score.
        """
        scores = self.scores(run, seed).scores
        found = estimate(worst_of({name: scores[name][row] for name in columns})).value
        if found is None:
            raise Missing(run)
        return found

    def played(self, run: Key, seed: int, column: str, row: int = LAST) -> Mapping[str, Any]:
        """Return the evaluation of a column at a row of R, as in result.json.

        Raises:
            KeyError: the run has not ended.
        """
        evaluations = self.results[run][seed]["evaluations"]
        found: Mapping[str, Any] = evaluations[row][column]
        return found

    def _among(self, run: Key, seed: int, column: str, among: Sequence[Any]) -> Array:
        """Return which tasks count, (tasks,)."""
        tasks = self.scores(run, seed).tasks[column]
        if not among:
            return np.ones(len(tasks), bool)
        difficulties = self.played(run, seed, column, FIRST)["difficulties"]
        return np.array([difficulties.get(task) in among for task in tasks])
