"""What `contrail eval --json` says of two policies, task by task: `python -m benchmarks.paired`.

    python -m benchmarks.paired craft --after after.json --before before.json --baselines base.json

With a file for each of several seeds, the mean over these seeds is compared, and the interval is
over tasks alone: other seeds may differ by more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from contrail.errors import ContrailError
from contrail.intervals import difference_interval

Scores = Mapping[str, float]


def mean_scores(files: Sequence[Path], environment: str) -> dict[str, float]:
    """Return the mean of each task's success over the files.

    Raises:
        ContrailError: a file has no such environment, or other tasks.
    """
    found: list[Scores] = []
    for file in files:
        results = json.loads(file.read_text())
        if environment not in results:
            raise ContrailError(f"{file} has no environment {environment!r}: {', '.join(results)}.")
        found.append(results[environment]["scores"])
        if found[-1].keys() != found[0].keys():
            raise ContrailError(f"{files[0]} and {file} have other tasks.")
    return {task: float(np.mean([scores[task] for scores in found])) for task in found[0]}


def line(what: str, first: Scores, second: Scores) -> str:
    """Return the difference of the first from the second, with its interval over tasks.

    Raises:
        ContrailError: they have no task in common.
    """
    both = [task for task in first if task in second]
    if not both:
        raise ContrailError(f"{what}: there is no task in common.")
    found = difference_interval(np.array([first[task] - second[task] for task in both]))
    low, high = found.interval or (np.nan, np.nan)
    return f"{what}: {found.value:+.3f} [{low:+.3f}, {high:+.3f}], {len(both)} tasks"


def main(
    environment: str,
    after: Annotated[list[Path], typer.Option(help="Of a policy; for each seed one.")],
    before: Annotated[list[Path] | None, typer.Option(help="Of the one it began as.")] = None,
    baselines: Annotated[
        Path | None, typer.Option(help="`contrail environments NAME --baselines --json`.")
    ] = None,
) -> None:
    """Compare policies task by task."""
    policies = {"after": mean_scores(after, environment)}
    if before:
        policies["before"] = mean_scores(before, environment)
    for name, scores in policies.items():
        print(f"{name}: {np.mean(list(scores.values())):.3f}")
    if before:
        print(line("after less before", policies["after"], policies["before"]))
    listed: list[dict[str, Any]] = [] if baselines is None else json.loads(baselines.read_text())
    for player, baseline in (listed[0]["baselines"] if listed else {}).items():
        for name, scores in policies.items():
            if baseline is not None:
                print(line(f"{name} less {player}", scores, baseline["scores"]))


if __name__ == "__main__":
    typer.run(main)
