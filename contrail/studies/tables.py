"""The matrices of a study, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from contrail.comparison.estimate import Quantity, estimated
from contrail.comparison.plan import run_directory
from contrail.metrics.transfer import Part
from contrail.studies.contrasts import gain, gain_term, minus
from contrail.studies.design import (
    EASY,
    HARD,
    Key,
    alone,
    mixture,
    shifted,
    twice,
)
from contrail.studies.evidence import FIRST, LAST, Evidence, Term

Cell = dict[str, Any]
Table = dict[str, Any]
"""`title`, `note`, `columns`, `rows`: a label and a cell per column each, None for no value; and
`runs`, for each seed the run's directory, and where its R has the row and the columns."""

AVERAGE, WORST = "average", "worst"


def tables_of(experiment: str, evidence: Evidence) -> list[Table]:
    """Return the matrices of an experiment."""
    return {
        "within": _within,
        "transfer": _transfer,
        "sequence": _sequence,
        "mixture": _mixture,
        "interface": _interface,
    }[experiment](evidence)


def warm_up_table(evidence: Evidence) -> Table:
    """Return the success before and after the warm-up; `evidence` has its runs alone."""
    (run,) = evidence.results
    labels = evidence.subject.environments
    rows = {
        "untrained model": _scores(evidence, run, labels, FIRST),
        "after the warm-up": _scores(evidence, run, labels, 1),
    }
    note = "The same for all runs of a seed; elsewhere it is what stands before training."
    return _table("Warm-up: success", labels, rows, note)


def _within(evidence: Evidence) -> list[Table]:
    found = []
    for label in evidence.subject.split:
        halves = (evidence.subject.halves or {})[label]
        columns = {"easy tasks": halves[EASY], "hard tasks": halves[HARD], "all tasks": ()}
        runs = {
            "before training": (twice(label, "", ""), FIRST),
            "easy": (twice(label, EASY, EASY), LAST),
            "hard": (twice(label, HARD, HARD), LAST),
            "all": (twice(label, "", ""), LAST),
            "easy, then hard": (twice(label, EASY, HARD), LAST),
        }
        rows = {
            name: [
                evidence.quantity([evidence.score(run, label, row, among)], (0, 1))
                for among in columns.values()
            ]
            for name, (run, row) in runs.items()
        }
        title = f"Within {label}: success by the tasks trained on"
        found.append(_table(title, list(columns), rows, _difficulties(halves)))
    return found


def _transfer(evidence: Evidence) -> list[Table]:
    labels = evidence.subject.environments
    rows = {"random play": _random(evidence, labels)}
    rows["before training"] = _scores(evidence, alone(labels[0]), labels, FIRST)
    for label in labels:
        rows[f"after {label}"] = _scores(evidence, alone(label), labels)
    after = {f"after {label}": (alone(label), LAST) for label in labels}
    sources = {"before training": (alone(labels[0]), FIRST), **after}
    gains = {
        f"after {label}": [evidence.quantity([gain_term(evidence, label, c)]) for c in labels]
        for label in labels
    }
    return [
        _linked(_table("Transfer: success", labels, rows), sources, evidence),
        _linked(
            _table("Transfer: change by training", labels, gains, signed=True), after, evidence
        ),
    ]


def _sequence(evidence: Evidence) -> list[Table]:
    subject = evidence.subject
    labels = subject.environments
    found = []
    if len(labels) > 1:
        strategy = subject.strategies[0]
        rows = {}
        for (one, other), order in subject.beginnings.items():
            run = (strategy, order)
            changes = [
                evidence.change((run, FIRST), (run, 1), one),
                evidence.change((run, 1), (run, 2), one),
                evidence.change((run, 1), (run, 2), other),
            ]
            rows[f"{one}, then {other}"] = [evidence.quantity([change]) for change in changes]
        columns = ["gain of the first", "its change in the second stage", "gain of the second"]
        found.append(
            _table(f"Sequences: the first two stages ({strategy})", columns, rows, signed=True)
        )
    for strategy in subject.strategies:
        rows = {
            ", ".join(order): _scores(evidence, (strategy, order), labels, summary=True)
            for order in subject.orders
        }
        title = f"Sequences: success at the end ({strategy})"
        sources = {", ".join(order): ((strategy, order), LAST) for order in subject.orders}
        found.append(_linked(_table(title, [*labels, AVERAGE, WORST], rows), sources, evidence))
    return found


def _mixture(evidence: Evidence) -> list[Table]:
    subject = evidence.subject
    labels = subject.environments
    rows = {"random play": [*_random(evidence, labels), *_none(2)]}
    rows["before training"] = _scores(evidence, mixture(subject), labels, FIRST, summary=True)
    for strategy in subject.strategies:
        runs = [(strategy, order) for order in subject.orders]
        own = [evidence.quantity([evidence.score(run, c) for run in runs], (0, 1)) for c in labels]
        rows[f"{strategy}, mean of orders"] = [*own, *_summary(evidence, runs, labels)]
    rows["mixture"] = _scores(evidence, mixture(subject), labels, summary=True)
    made = _table("Mixture and sequences: success", [*labels, AVERAGE, WORST], rows)
    run = mixture(subject)
    return [_linked(made, {"before training": (run, FIRST), "mixture": (run, LAST)}, evidence)]


def _interface(evidence: Evidence) -> list[Table]:
    subject = evidence.subject
    labels = subject.environments
    columns = [
        column
        for label in labels
        for column in (label, *(shifted(label, name) for name in subject.interfaces))
    ]
    sources = {"before training": (alone(columns[0]), FIRST)}
    sources |= {f"after {column}": (alone(column), LAST) for column in columns}
    rows = {name: _scores(evidence, run, columns, row) for name, (run, row) in sources.items()}
    parts: dict[str, list[Quantity]] = {}
    for label in labels:
        own = gain_term(evidence, label, label)
        others = [other for other in labels if other != label]
        parts[label] = [
            evidence.quantity([own]),
            *(
                evidence.quantity(
                    [minus(own, gain_term(evidence, label, shifted(label, name)))], (-2, 2)
                )
                for name in subject.interfaces
            ),
            evidence.of_seeds(partial(_loss, evidence, label, others), (-2, 2)),
        ]
    names = [f"less on {name}" for name in subject.interfaces]
    return [
        _linked(
            _table("Interface: success by the interface trained on", columns, rows),
            sources,
            evidence,
        ),
        _table(
            "Interface and semantics: the gain, and what of it is lost",
            ["held-in gain", *names, "less on other environments"],
            parts,
            "The gain of an environment by training on it; less the gain behind a shifted "
            "interface, and less the mean gain of the other environments.",
            signed=True,
        ),
    ]


def _loss(evidence: Evidence, label: str, others: Sequence[str], seed: int) -> float | None:
    """Return the held-in gain of an environment, less the mean gain of others by training on it."""
    if not others:
        return None
    far = [gain(evidence, label, other, seed) for other in others]
    return gain(evidence, label, label, seed) - sum(far) / len(far)


def _scores(
    evidence: Evidence,
    run: Key,
    columns: Iterable[str],
    row: int = LAST,
    *,
    summary: bool = False,
) -> list[Quantity]:
    """Return the success on columns at a row of R; with a summary, average and worst too."""
    listed = list(columns)
    found = [evidence.quantity([evidence.score(run, name, row)], (0, 1)) for name in listed]
    return [*found, *_summary(evidence, [run], listed, row)] if summary else found


def _summary(
    evidence: Evidence, runs: Sequence[Key], labels: Sequence[str], row: int = LAST
) -> list[Quantity]:
    """Return the average and the worst of the environments, means over runs."""

    def together(run: Key) -> Term:
        def term(seed: int) -> Mapping[str, Part]:
            parts: dict[str, Part] = {}
            for label in labels:
                parts |= evidence.score(run, label, row)(seed)
            return parts

        return term

    def worst(seed: int) -> float:
        lowest = [evidence.worst(run, seed, labels, row) for run in runs]
        return sum(lowest) / len(lowest)

    return [
        evidence.quantity([together(run) for run in runs], (0, 1)),
        evidence.of_seeds(worst, (0, 1)),
    ]


def _random(evidence: Evidence, columns: Iterable[str]) -> list[Quantity]:
    """Return the success of random play."""
    return [evidence.of_seeds(partial(_random_success, evidence, name), (0, 1)) for name in columns]


def _random_success(evidence: Evidence, column: str, seed: int) -> float | None:
    for of_seeds in evidence.results.values():
        if seed in of_seeds:
            random = of_seeds[seed]["baselines"].get(column, {}).get("random")
            return None if random is None else random["success"]
    return None


def _none(count: int) -> list[Quantity]:
    return [Quantity() for _ in range(count)]


def _difficulties(halves: Mapping[str, Sequence[str | int]]) -> str:
    easy, hard = (", ".join(map(str, halves[which])) for which in (EASY, HARD))
    return f"Easy: difficulty {easy}. Hard: {hard}."


def _table(
    title: str,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[Quantity]],
    note: str = "",
    *,
    signed: bool = False,
) -> Table:
    return {
        "title": title,
        "note": note,
        "columns": list(columns),
        "signed": signed,
        "rows": [{"label": label, "cells": list(map(_cell, row))} for label, row in rows.items()],
    }


def _linked(table: Table, sources: Mapping[str, tuple[Key, int]], evidence: Evidence) -> Table:
    """Say of rows which run they show, and which row of its R.

    Args:
        table: the table.
        sources: by a row's label, the run and its row of R.
        evidence: the runs.
    """
    for line in table["rows"]:
        if line["label"] not in sources:
            continue
        run, row = sources[line["label"]]
        line["runs"] = [
            {
                "seed": seed,
                "run": run_directory(*run, seed),
                "row": row % len(result["evaluations"]),
                "columns": [
                    result["environments"].index(name) if name in result["environments"] else None
                    for name in table["columns"]
                ],
            }
            for seed, result in evidence.results.get(run, {}).items()
        ]
    return table


def _cell(quantity: Quantity) -> Cell | None:
    if not quantity.defined:
        return None
    found = estimated(quantity)
    return {name: found[name] for name in ("mean", "interval", "seeds", "values")}
