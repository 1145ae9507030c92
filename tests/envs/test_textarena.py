"""Games of TextArena."""

from __future__ import annotations

import random

import pytest

from contrail.envs.textarena.environment import TextArena, TextArenaConfig
from contrail.errors import ContrailError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


def test_split_by_start_of_textarena() -> None:
    """Of 100 test seeds of Sokoban 49 start as one of 500 training seeds does."""
    pytest.importorskip("textarena")
    boards = TextArena(TextArenaConfig("Sokoban-v0", 16, 4, "start"))
    outside = random.getstate()
    tasks = {split: boards.tasks(split) for split in ("train", "test")}
    seen = {split: [boards.reset(task).text for task in tasks[split]] for split in tasks}
    assert {split: len(set(texts)) for split, texts in seen.items()} == {"train": 16, "test": 4}
    assert not set(seen["train"]) & set(seen["test"])
    by_seed = TextArena(TextArenaConfig("Sokoban-v0", 16, 4, "seed"))
    assert all(tasks[split] != by_seed.tasks(split) for split in tasks)
    assert random.getstate() == outside


def test_a_game_of_textarena() -> None:
    pytest.importorskip("textarena")
    game = TextArena()
    outside = random.getstate()
    assert "Guess The Number" in game.reset(game.tasks("train")[0]).text
    low, high = 1, 20
    while True:
        guess = (low + high) // 2
        step = game.step(str(guess))  # a move alone: the brackets are put around it
        assert step.valid
        if step.terminated:
            break
        assert "\n" not in step.observation.text  # only what is new
        low, high = (guess + 1, high) if "higher" in step.observation.text else (low, guess - 1)
    assert (step.reward, step.success) == (1.0, True)
    assert step.observation.text.startswith("Congratulations!")
    assert random.getstate() == outside
    game.reset(game.tasks("train")[0])
    assert not game.step("[lots]").valid
    lost = game.step("[lots]")
    assert (lost.terminated, lost.success, lost.valid) == (True, False, False)
    assert not game.step("[3]").valid  # it is over


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GuesTheNumber-v0", "Did you mean 'GuessTheNumber-v0'"),
        ("BabyAiText-v0", "it has no variant -raw"),
        ("TicTacToe-v0", "The number of players has to be 2"),
        ("MarketEntryGame-v0", "several players"),
        ("TwentyQuestions-v0", "OPENROUTER_API_KEY"),
    ],
)
def test_what_textarena_cannot_give(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    pytest.importorskip("textarena")
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(ContrailError) as error:
        TextArena(TextArenaConfig(name))
    assert words in str(error.value)
