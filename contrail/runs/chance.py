"""Stages whose success is not shown to be above chance: random play does as well, or better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from contrail.intervals import Estimate, Interval, difference_interval, score_interval

if TYPE_CHECKING:
    from contrail.runs.run import Run
    from contrail.stage import Stage

TRAIN = (
    "Train for more updates or with a larger learning rate (grpo.learning_rate, or that of the "
    "stage's `learn`), begin with easier tasks (`train` of the stage, or the strategy "
    "`curriculum`), or evaluate more tasks (evaluate.tasks), so that less shows"
)
EVALUATE = "Evaluate more tasks (evaluate.tasks), so that less shows, or train for more updates"
"""Where more has been solved than at random, on too few tasks to tell."""
WINDOW = 0.25
"""The share of a stage's updates whose success in training is compared with random play."""
FEWEST = 32
"""Episodes that this takes at least."""


def over_random(run: Run, row: int, environment: str) -> Estimate | None:
    """Return success in a row of R less that of random play, task by task; None if unknown."""
    random = run.baselines.get(environment, {}).get("random")
    scores = run.evaluations[row].get(environment) if row < len(run.evaluations) else None
    if random is None or scores is None:
        return None
    theirs = [random.scores.get(task) for task in scores.scores]
    return difference_interval(
        numpy.array([*scores.scores.values()], float) - numpy.array(theirs, float)
    )


def at_chance(run: Run) -> list[list[str]]:
    """Return for each stage its own environments in which success is not above random play."""
    found = []
    for stage, own in enumerate(run.own, start=1):
        gains = {name: over_random(run, stage, name) for name in own}
        found.append([name for name, gain in gains.items() if gain and _is_chance(gain)])
    return found


def summary(run: Run) -> list[dict[str, Any]]:
    """Return `at_chance` of result.json: for each stage the environments, and what to do."""
    return [
        {"environments": names, "advice": _advice(run, stage, names) if names else None}
        for stage, names in enumerate(at_chance(run), start=1)
    ]


def after_stage(run: Run, stage: int) -> list[str]:
    """Return what to tell the user after the evaluation of a stage."""
    said = []
    for name in at_chance(run)[stage - 1]:
        gain = over_random(run, stage, name)
        assert gain is not None
        assert gain.interval is not None
        low, high = gain.interval
        where = "below random play" if high < 0 else "not shown to be above random play"
        said.append(
            f"{name} is {where}: {gain.value:+z.2f} [{low:+z.2f}, {high:+z.2f}]. "
            f"{_advice(run, stage, [name])}."
        )
    return said


def _advice(run: Run, stage: int, names: Sequence[str]) -> str:
    gains = [over_random(run, stage, name) for name in names]
    better = all(gain is not None and gain.value is not None and gain.value > 0 for gain in gains)
    return EVALUATE if better else TRAIN


def half_way(run: Run, stage: Stage, number: int, size: int) -> list[str]:
    """Return what to tell the user in the middle of a stage, by its success in training.

    Random play is known on test tasks. If the stage trains on some difficulties alone, it is
    compared with random play on test tasks of these; if there are none, nothing is told.

    Args:
        run: whose stage it is.
        stage: under way.
        number: of the stage, from 1 on.
        size: the number of episodes of an update.
    """
    made, updates = run.made[-1], stage.updates
    if made != (updates + 1) // 2:
        return []
    first = made - max(1, round(WINDOW * updates))
    said = []
    for name in run.meant[number - 1]:
        recent = [success for update, success in run.training[-1].get(name, ()) if update > first]
        ends = _random(run, name, {task.difficulty for task in stage.tasks[name]})
        if not ends or len(recent) * size < FEWEST:
            continue
        success = sum(recent) / len(recent)
        if success <= ends[1]:
            where = "below" if success < ends[0] else "not above"
            said.append(
                f"{name} is {where} random play after {made} of {updates} updates: success in "
                f"training {success:.2f}, random play [{ends[0]:.2f}, {ends[1]:.2f}]."
            )
    return said


def _random(run: Run, name: str, difficulties: set[str | int | None]) -> Interval | None:
    """Return the interval of random play on the test tasks of some difficulties."""
    random = run.baselines.get(name, {}).get("random")
    if random is None:
        return None
    known = run.evaluations[0][name].difficulties
    scores = [
        score
        for task, score in random.scores.items()
        if score is not None and known.get(task) in difficulties
    ]
    return score_interval(scores).interval if scores else None


def _is_chance(gain: Estimate) -> bool:
    return gain.interval is not None and gain.interval[0] <= 0
