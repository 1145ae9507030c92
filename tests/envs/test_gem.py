"""Environments of GEM: games for several turns, and what cannot be made here."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy
import pytest
from checked import passes

from contrail.config import build
from contrail.envs.gem.environment import Gem, GemConfig
from contrail.errors import ConfigError, ContrailError

pytest.importorskip(
    "gem", reason="needs pip install --no-deps --ignore-requires-python gem-llm (Python 3.11)"
)


def make(name: str, **settings: Any) -> Gem:
    return Gem(build(GemConfig, {"id": name, **settings}))


def test_a_game_is_won_by_plain_and_by_boxed_moves() -> None:
    game = make("game:GuessTheNumber-v0-hard")
    outside, numeric = random.getstate(), repr(numpy.random.get_state(legacy=False))  # noqa: NPY002
    for boxed in (False, True):
        text = game.reset(game.tasks("train")[1]).text
        assert "\\boxed" in text
        low, high = 1, 50
        for _ in range(game.max_turns):
            guess = (low + high) // 2
            step = game.step(f"I say \\boxed{{{guess}}}" if boxed else f" {guess}.")
            assert step.valid
            if step.terminated:
                break
            higher = "higher" in step.observation.text
            low, high = (guess + 1, high) if higher else (low, guess - 1)
        assert (step.reward, step.success) == (1.0, True)
        assert not game.step("3").valid  # it is over
    game.reset(game.tasks("train")[1])
    lost = game.step("nonsense")  # GEM ends a game at an answer that it cannot read
    assert (lost.terminated, lost.success, lost.valid) == (True, False, False)
    assert random.getstate() == outside
    assert repr(numpy.random.get_state(legacy=False)) == numeric  # noqa: NPY002


def test_a_game_that_pays_by_the_move_is_solved_by_its_last() -> None:
    """The last move of GEM's Sudoku is worth as much as any other, less than 1."""
    game = make("game:Sudoku-v0-easy")
    first = game.reset(game.tasks("test")[0])
    assert "R1" in first.text  # the board stands in GEM's `suffix`
    inner = game._game
    total = 0.0
    cells = [(r, c) for r in range(4) for c in range(4) if inner.board[r][c] == 0]
    for place, (row, column) in enumerate(cells):
        step = game.step(f"{row + 1} {column + 1} {inner.full_grid[row][column]}")
        total += step.reward
        assert step.success == (place == len(cells) - 1)
    assert total == pytest.approx(1.0)
    assert step.reward < 1


def test_one_that_draws_its_size_keeps_the_contract() -> None:
    passes(Gem, build(GemConfig, {"id": "game:Minesweeper-v0-random"}), {"actions", "expert"})


def test_questions_that_seeds_share_are_told() -> None:
    """Every seed draws from the same 500 questions."""
    by_seed = make("rg:chain_sum")
    assert "split_by: start" in by_seed.notes[0]
    assert by_seed.max_turns == 1
    world = make("rg:chain_sum", split_by="start", train_tasks=20, test_tasks=5)
    assert world.notes == ()
    asked = {s: {world.reset(task).text for task in world.tasks(s)} for s in ("train", "test")}
    assert not asked["train"] & asked["test"]
    task = world.tasks("train")[0]
    world.reset(task)
    answer = world._game.data["answer"]
    assert world.step(answer).success
    world.reset(task)
    assert not world.step("\\boxed{none}").success


def test_what_cannot_be_made() -> None:
    for name, words in {
        "game:Sudoku-v1-easy": "Did you mean 'game:Sudoku-v0-easy'",
        "game:FifteenPuzzle-v0-random": "cannot be made here",
    }.items():
        with pytest.raises(ContrailError) as error:
            make(name)
        assert words in str(error.value)
    with pytest.raises(ConfigError):
        make("game:Sudoku-v0-easy", train_tasks=0)


def test_logging_stays_as_it_was() -> None:
    root = logging.getLogger()
    assert not [each for each in root.handlers if "gem" in repr(each.formatter)]
    assert root.level in (logging.WARNING, logging.NOTSET)
