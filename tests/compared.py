"""Finished runs made by hand, for the tests of comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contrail import metrics
from contrail.compare.gather import Row
from contrail.rundir import RunDirectory

STAGE = {"updates": 4, "train": {"difficulty": None, "tasks": None}, "adapter": None}


def result(
    R: list[list[float | None]],
    trained: list[list[str]],
    environments: tuple[str, ...] = ("babyai", "textcraft", "webshop"),
    strategy: str = "sequential",
    seed: int = 0,
) -> dict[str, Any]:
    """The content of a result.json, as far as comparisons read it."""
    columns = [{environments.index(name) for name in stage} for stage in trained]
    evaluations = [
        {
            name: {"scores": {f"{name}/{k}": row[j] for k in range(4)}}
            for j, name in enumerate(environments)
        }
        for row in R
    ]
    return {
        "model": "tiny-random",
        "adapter": "choose",
        "strategy": strategy,
        "seed": seed,
        "environments": list(environments),
        "stages": ["+".join(stage) for stage in trained],
        "trained": trained,
        "R": R,
        "metrics": metrics.summary(R, columns),
        "evaluations": evaluations,
        "budget": {
            "updates": 8,
            "episodes": 256,
            "generated_tokens": 1000 + seed,
            "cpu_seconds": 60.0 + seed,
            "wall_seconds": 70.0,
        },
    }


def row(
    strategy: str,
    R: list[list[float | None]],
    trained: list[list[str]] | None = None,
    seed: int = 0,
    order: tuple[str, ...] = ("babyai", "textcraft"),
    files: Path = Path("runs"),
) -> Row:
    """A run of `order` under a strategy; each stage trains on one environment, if not `trained`."""
    stages = [[name] for name in order] if trained is None else trained
    config = {
        "model": "tiny-random",
        "seed": seed,
        "plugins": [],
        "stream": [
            {"environment": {"name": name, "label": name}, "name": name, **STAGE} for name in order
        ],
        "strategy": {"name": strategy},
        "adapter": {"name": "choose"},
        "evaluate": {"tasks": 4},
        "grpo": {"learning_rate": 1e-3},
    }
    content = result(R, stages, strategy=strategy, seed=seed)
    directory = RunDirectory(files / f"{strategy}_{'-'.join(order)}_seed{seed}")
    return Row(directory, strategy, order, seed, content, config)
