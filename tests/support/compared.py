"""For the tests of comparisons: a short stream, and finished runs made by hand."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from contrail.comparison import launch
from contrail.comparison.gather import Row
from contrail.comparison.plan import ComparisonOptions
from contrail.metrics.transfer import METRICS, TaskScores
from contrail.runs.directory import RunDirectory
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
STREAM = """
model: tiny-random
plugins: [guess.py, anchored.py]
stream:
  - environment: {name: guess-number, label: short, max_turns: 2}
    updates: 1
  - environment: {name: guess-number, label: long, max_turns: 3}
    updates: 1
evaluate: {tasks: 3}
grpo: {num_generations: 2, generation_batch_size: 4, learning_rate: 1e-2}
"""
# Different from `sequential` in the second stage alone, and with a state from then on.
ANCHORED = """
import contrail

class Anchored(contrail.Strategy):
    seen = 0

    starts_at = 2

    def draw(self, stage, update, count, rng):
        tasks = stage.sample(count, rng)
        return tasks[::-1] if stage.name == "long" else tasks

    def leave(self, context):
        self.seen = context.number if context.number > 1 else 0

    def state_dict(self):
        return {"seen": self.seen} if self.seen else {}

    def load_state_dict(self, state):
        self.seen = state["seen"]

@contrail.hookimpl
def contrail_strategies(register):
    register("anchored", Anchored)
"""
ASKED = ComparisonOptions(strategies=["sequential", "anchored"], seeds=[0, 1], jobs=2)
RUNS = [
    f"{strategy}_short-long_seed{seed}"
    for seed in (0, 1)
    for strategy in ("sequential", "anchored")
]
TASKS = 400
"""Test tasks of each environment: enough to leave intervals over seeds to the seeds."""
STAGE = {"updates": 4, "train": {"difficulty": None, "tasks": None}, "adapter": None}


def write_stream(directory: Path) -> Path:
    """Write the stream file and its plugins."""
    shutil.copy(EXAMPLES / "guess.py", directory)
    (directory / "anchored.py").write_text(ANCHORED)
    (directory / "stream.yaml").write_text(STREAM)
    return directory / "stream.yaml"


def result(
    R: list[list[float | None]],
    trained: list[list[str]],
    environments: tuple[str, ...] = ("babyai", "textcraft", "webshop"),
    strategy: str = "sequential",
    seed: int = 0,
) -> dict[str, Any]:
    """The content of a result.json, as far as comparisons read it."""
    restarts = strategy == "isolated"
    evaluations = [
        {
            name: {"scores": {f"{name}/{k:03d}": row[j] for k in range(TASKS)}, "tasks": TASKS}
            for j, name in enumerate(environments)
        }
        for row in R
    ]
    judged = {
        "environments": list(environments),
        "stages": ["+".join(stage) for stage in trained],
        "trained": trained,
        "own": trained,
        "played": [dict.fromkeys(stage, 128) for stage in trained],
        "curves": [{} for _ in trained],
        "evaluations": evaluations,
    }
    scores = TaskScores.read(judged)
    return {
        "model": "tiny-random",
        "adapter": "choose",
        "strategy": strategy,
        "seed": seed,
        **judged,
        "R": R,
        "restarts": restarts,
        "metrics": {
            name: None if restarts else metric(scores).value for name, metric in METRICS.items()
        },
        "evaluate": {"samples": 1, "decoding": "sample", "temperature": 1.0},
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


class Scripts:
    """In place of the fork server: each process runs this script, with the worker's arguments."""

    def __init__(self, script: str) -> None:
        self.script = script

    def start(self, arguments: Sequence[str], output: IO[bytes]) -> ScriptProcess:
        return ScriptProcess(
            [sys.executable, "-c", self.script, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )


class ScriptProcess(subprocess.Popen):  # type: ignore[type-arg]
    def interrupt(self) -> None:
        assert self.stdin is not None
        self.stdin.close()


class Here:
    """In place of worker processes: the runs of a comparison are made on the spot.

    `code`: the exit status of all runs that are asked for theirs.
    """

    code = 0

    @classmethod
    def used(cls, patch: pytest.MonkeyPatch) -> Here:
        """Put one in the place of a comparison's processes."""
        made = cls()
        patch.setattr(launch, "Workers", lambda: contextlib.nullcontext(made))
        patch.setattr(launch, "attempt", lambda configs, workers: None)
        return made

    def start(self, arguments: Any, output: Any) -> Here:
        _, config, out = arguments
        run_stream(Path(config), out=Path(out), quiet=True)
        return self

    def poll(self) -> int:
        return self.code
