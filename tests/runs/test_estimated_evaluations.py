"""How often a run evaluates, as it is estimated, is how often it does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.check.world import NAME
from contrail.runs import rollouts
from contrail.runs.estimate import table
from contrail.runs.position import Course

RULES = {"a": "north", "b": "south", "c": "north"}
ONCE = 3 * 4
"""Episodes of one evaluation of all environments."""


def stream(updates: tuple[int, ...] = (2, 2, 0), every: int | None = 1, **more: Any) -> Any:
    """A stream of three environments; every update of it changes the policy."""
    return {
        "model": "tiny-random",
        "dtype": "float32",
        "plugins": ["contrail.check.world"],
        "stream": [
            {"environment": {"name": NAME, "label": label, "rule": rule}, "updates": count}
            for (label, rule), count in zip(RULES.items(), updates, strict=True)
        ],
        "evaluate": {"tasks": 4, "baselines": False, "every": every},
        "trackers": [],
        "grpo": {"num_generations": 4, "generation_batch_size": 16, "learning_rate": 1e-2},
        "lora": {"r": 4},
        **more,
    }


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The episodes of each evaluation of one environment that is made."""
    counts: list[int] = []
    evaluate = rollouts.evaluate

    def counting(*arguments: Any, **named: Any) -> Any:
        scores, episodes = evaluate(*arguments, **named)
        counts.append(len(episodes))
        return scores, episodes

    monkeypatch.setattr(rollouts, "evaluate", counting)
    return counts


STILL = (2, 2, 0)
"""Updates of stages, of which the last leaves the policy still."""


@pytest.mark.parametrize(
    ("strategy", "updates", "every", "times"),
    [
        ("sequential", STILL, 1, 5),
        ("sequential", STILL, None, 3),
        ("sequential", (1, 2, 1), None, 4),
        ("isolated", STILL, 1, 7),
        ("isolated", STILL, None, 4),
        ("isolated", (1, 2, 1), 2, 6),
        ("frozen", STILL, 1, 1),
        ("frozen", (1, 2, 1), None, 1),
        ("mixture", STILL, 3, 3),
        ("merge", (1, 2, 1), None, 4),
        ("adapters", (1, 2, 1), None, 4),
    ],
)
def test_as_many_as_estimated(
    strategy: str,
    updates: tuple[int, ...],
    every: int | None,
    times: int,
    tmp_path: Path,
    played: list[int],
) -> None:
    values = stream(updates, every, strategy=strategy)
    found = contrail.estimate(values, quiet=True)
    played.clear()
    run = contrail.run(values, out=tmp_path / "run", quiet=True)
    assert found.evaluation == sum(played) == times * ONCE
    assert found.updates == run.record["budget"]["updates"]
    assert found.training == run.record["budget"]["episodes"]


@pytest.mark.parametrize(
    ("strategy", "every", "times"),
    [("sequential", 1, 5), ("isolated", 1, 6), ("isolated", None, 5), ("frozen", 1, 2)],
)
def test_with_a_warm_up(
    strategy: str, every: int | None, times: int, tmp_path: Path, played: list[int]
) -> None:
    """A restart is one from where the warm-up ended."""
    values = stream((1, 0, 2), every, strategy=strategy, warmup=1)
    found = contrail.estimate(values, quiet=True)
    played.clear()
    contrail.run(values, out=tmp_path / "run", quiet=True)
    assert found.evaluation == sum(played) == times * ONCE


@pytest.mark.parametrize("strategy", ["merge", "adapters", "l2", "replay"])
@pytest.mark.parametrize("every", [1, None])
def test_at_most_where_a_strategy_may_change_the_policy(
    strategy: str, every: int | None, tmp_path: Path, played: list[int]
) -> None:
    values = stream(STILL, every, strategy=strategy)
    found = contrail.estimate(values, quiet=True)
    assert not found.course.exact
    assert f"at most {found.evaluation} in evaluations" in dict(table(found))["episodes"]
    played.clear()
    contrail.run(values, out=tmp_path / "run", quiet=True)
    assert ONCE <= sum(played) <= found.evaluation


def test_an_update_that_teaches_nothing(tmp_path: Path, played: list[int]) -> None:
    """Whether it does cannot be known, so that evaluations are at most as many."""
    values = stream()
    values["grpo"]["learning_rate"] = 0.0
    found = contrail.estimate(values, quiet=True)
    played.clear()
    contrail.run(values, out=tmp_path / "run", quiet=True)
    assert sum(played) == ONCE
    assert dict(table(found))["episodes"] == (
        "4 updates; at most 124 episodes: 64 in training, at most 60 in evaluations"
    )


def test_known_numbers_are_said_plainly() -> None:
    found = contrail.estimate(stream((1, 2, 1), None), quiet=True)
    assert dict(table(found))["episodes"] == (
        "4 updates; 112 episodes: 64 in training, 48 in evaluations"
    )


def test_episodes_that_a_strategy_plays_are_not_counted_and_said_so() -> None:
    values = stream(strategy={"name": "curriculum", "by": "pass_rate", "samples": 2})
    said = dict(table(contrail.estimate(values, quiet=True)))["not counted"]
    assert "curriculum" in said
    assert "the episodes that it plays by itself" in said


def test_rows_that_are_taken_over() -> None:
    course = Course((2, 2), every=1)
    # The last of the rows that were taken over is evaluated again at the beginning of a stage.
    assert [course.evaluations(rows) for rows in range(4)] == [5, 5, 3, 0]
    assert [Course((2, 2)).evaluations(rows) for rows in range(5)] == [3, 2, 1, 0, 0]
    assert [Course((0, 0)).evaluations(rows) for rows in range(4)] == [1, 1, 1, 0]


def test_a_run_that_has_rows_already(tmp_path: Path, played: list[int]) -> None:
    values = stream((1, 1, 1))
    run = contrail.run(values, out=tmp_path / "run", quiet=True).directory
    (run / "result.json").unlink()
    for name in ("002", "003"):
        shutil.rmtree(run / "checkpoints" / name)
    for path in run.glob("checkpoints/*-*"):
        shutil.rmtree(path)
    played.clear()
    contrail.run(values, out=run, quiet=True)
    assert sum(played) == Course((1, 1, 1), every=1).evaluations(2) * ONCE == 3 * ONCE


def test_a_strategy_is_sequential_before_it_starts() -> None:
    assert Course((2, 2), every=1, enters=2, leaves=2).evaluations() == 7
    assert Course((2, 2), every=1, enters=1, leaves=1).evaluations() == 9
    assert Course((1, 2, 2), every=1, warmup=True, enters=2, leaves=2).evaluations() == 8
