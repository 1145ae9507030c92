"""`contrail eval` and `play`, where the strategy chooses the LoRA that plays an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail.check.world import NAME
from contrail.runs.watch import watch

STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "dtype": "float32",
    "plugins": ["contrail.check.world"],
    "strategy": "adapters",
    "warmup": {"updates": 1, "learn": "grpo"},
    "stream": [
        {"environment": {"name": NAME, "label": rule, "rule": rule}, "updates": 2}
        for rule in ("north", "south")
    ],
    "evaluate": {
        "tasks": 8,
        "samples": 8,
        "every": 1,
        "baselines": False,
        "environments": [{"name": NAME, "label": "held", "rule": "north"}],
    },
    "checkpoint": {"updates": 1, "keep": 1000},
    "trackers": [],
    "grpo": {"num_generations": 4, "generation_batch_size": 16, "learning_rate": 1e-1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> contrail.Result:
    return contrail.run(STREAM, out=tmp_path_factory.mktemp("again") / "run", quiet=True)


def again(run: contrail.Result, name: Path) -> list[float | None]:
    found = contrail.evaluate(name, run.environments, quiet=True)
    return [found[environment].success for environment in run.environments]


def test_each_checkpoint_repeats_its_row(run: contrail.Result) -> None:
    assert len(numpy.unique(run.R, axis=0)) == len(run.R)  # else it would show nothing
    for row, cells in enumerate(run.R):
        assert again(run, run.directory / f"checkpoints/{row:03}") == list(cells)
    assert again(run, run.directory) == list(run.R[-1])


def test_a_checkpoint_within_a_stage_repeats_its_point_of_the_curves(run: contrail.Result) -> None:
    for stage in (1, 2, 3):
        curves = run.record["curves"][stage - 1]
        point = [dict(curves[environment])[1] for environment in run.environments]
        assert again(run, run.directory / f"checkpoints/{stage:03}-00001") == point


def test_what_plays_is_told(
    run: contrail.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    shown = watch(str(run.directory), "north", run._plugins, split="test", say=told.append)
    assert told == ["note: 'adapters' chooses the LoRA that plays an environment."]
    logged = [
        episode
        for episode in run.episodes(stage=3, kind="evaluate")
        if (episode["environment"], episode["task"]) == ("north", shown.task.id)
    ]
    assert [turn.text for turn in shown.turns] == [turn["text"] for turn in logged[0]["turns"]]
    alone = run.export(tmp_path / "alone")
    contrail.evaluate(alone, "north", tasks=1)
    said = " ".join(capsys.readouterr().err.split())
    assert f"here that of {alone} plays them all" in said
