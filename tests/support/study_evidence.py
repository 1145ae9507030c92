"""Made-up results of a study: what each claim is judged by."""

from __future__ import annotations

from collections.abc import Callable

import numpy

from contrail.studies.design import EASY, EXPERIMENTS, HARD, MIXTURE, Key, Subject, runs_of
from contrail.studies.evidence import Evidence

LABELS = ("a", "b", "c")
SUBJECT = Subject(
    LABELS,
    interfaces=("alias=1", "actions=never"),
    halves={label: {EASY: [1], HARD: [2]} for label in LABELS},
)
TASKS = 400  # half of them easy
SEEDS = range(4)

World = Callable[[Key, int, str, int], float]
"""The success of a run at a row of R, on a column and a difficulty."""


def evidence(
    world: World,
    *,
    turns: Callable[[int], float] = lambda row: 10.0,
    unchecked: float = 0.0,
    scatter: float = 0.004,
    seeds: range = SEEDS,
    tasks: int = TASKS,
    sampled: bool = False,
    seed: int = 0,
    subject: Subject = SUBJECT,
) -> Evidence:
    """Make results with the success of `world`; seeds scatter by `scatter`, or tasks are played."""
    rng, failures = numpy.random.default_rng(seed), numpy.random.default_rng(seed)
    columns = [
        name
        for label in LABELS
        for name in (label, *(f"{label}~{interface}" for interface in subject.interfaces))
    ]
    difficulties = {f"t{n}": 1 + (n % 2) for n in range(tasks)}
    results: dict[Key, dict[int, dict[str, object]]] = {}
    for key in dict.fromkeys(key for name in EXPERIMENTS for key in runs_of(name, subject)):
        strategy, stages = key
        rows = 2 if strategy == MIXTURE else len(stages) + 1
        for run_seed in seeds:
            evaluations = []
            for row in range(rows):
                cells = {}
                for column in columns:
                    p = [
                        numpy.clip(world(key, row, column, d) + rng.normal(0, scatter), 0, 1)
                        for d in (1, 2)
                    ]
                    scores = {
                        task: float(rng.random() < p[d - 1]) if sampled else float(p[d - 1])
                        for task, d in difficulties.items()
                    }
                    cells[column] = {
                        "scores": {f"{column[0]}/{task}": s for task, s in scores.items()},
                        "success": float(numpy.mean(list(scores.values()))),
                        "turns": turns(row) + rng.normal(0, 0.01),
                        "generated_tokens": 20 * turns(row) + rng.normal(0, 0.01),
                        "difficulties": {f"{column[0]}/{t}": d for t, d in difficulties.items()},
                        "failures": {
                            "episodes": 100,
                            "failed": 100,
                            "modes": {
                                "unchecked": int(failures.binomial(100, unchecked)),
                                "loops": int(failures.binomial(100, 0.2)),
                            },
                        },
                    }
                evaluations.append(cells)
            trained = [[label for label in LABELS if any(s[0] == label for s in stages)]]
            results.setdefault(key, {})[run_seed] = {
                "environments": columns,
                "evaluations": evaluations,
                "trained": trained * (rows - 1),
                "own": trained * (rows - 1),
                "warmup": False,
            }
    return Evidence(subject, results, list(seeds), checking=LABELS)
