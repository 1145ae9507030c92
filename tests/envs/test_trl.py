"""Classes for TRL's `environment_factory`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checked import passes

from contrail.envs.trl.environment import TRL, TRLConfig
from contrail.errors import ConfigError
from contrail.leaks import split_rows

GAMES = str(Path(__file__).parents[1] / "support/trl_games.py")


def world(factory: str, **settings: Any) -> TRL:
    return TRL(TRLConfig(GAMES, factory, **settings))


@pytest.mark.parametrize(
    ("factory", "settings", "skipped"),
    [
        ("Wordle", {}, {"actions", "expert"}),
        ("Sum", {"rows": "ROWS"}, {"actions", "expert"}),
        ("Lights", {}, {"expert"}),
    ],
)
def test_it_keeps_the_contract(factory: str, settings: dict[str, Any], skipped: set[str]) -> None:
    passes(TRL, TRLConfig(GAMES, factory, **settings), skipped)


def test_an_episode_with_a_class_that_says_when_it_is_over() -> None:
    game = world("Wordle", reward=["reward_of"])
    task = game.tasks("train")[0]
    first = game.reset(task).text
    word = game._object.word
    assert first.endswith(f"begins with {word[:3]}.")
    assert not game.step("abc").valid  # the tool raises: its words are the answer
    wrong = game.step('guess(word="zzzzz")')
    assert (wrong.observation.text, wrong.reward, wrong.terminated) == (".....", 0, False)
    last = game.step(word)  # one tool with one parameter: the value alone is the call
    assert (last.reward, last.terminated, last.success) == (1, True, True)
    assert game.step(word).observation.text == "The episode is over."
    assert game.reset(task).text == first
    assert "names no seed" in game.notes[0]


def test_words_end_the_episode_of_a_class_that_does_not() -> None:
    game = world("Sum", rows="rows")
    task = game.tasks("train")[0]
    assert game.reset(task).text == "You are a counter.\nThe counter is at 0. Bring it to 1."
    assert not game.step("add(step=one)").terminated
    assert game.step('{"name": "add", "arguments": {"step": 1}}').observation.text == (
        "The counter is at 1."
    )
    last = game.step("The counter is where you want it.")
    assert (last.reward, last.terminated, last.success, last.valid) == (1, True, True, True)
    game.close()


def test_an_episode_that_contrail_ends_is_scored() -> None:
    game = world("Sum", rows="ROWS")
    game.reset(game.tasks("train")[0])
    assert game.step("add(1)").reward == game.step("add(0)").reward == 0
    assert game.finish().reward == 1
    assert game.step("add(1)").terminated
    game.close()


def test_calls_that_can_be_listed_are_actions() -> None:
    game = world("Lights")
    seen = game.reset(game.tasks("test")[0])
    assert seen.actions == [f"flip(light='{number}')" for number in range(1, 9)]
    assert not game.step("dance").terminated


def test_rows_that_repeat_are_left_out(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(f'{{"start": {n % 7}, "goal": 9}}' for n in range(14)))
    game = world("Sum", rows=str(rows))
    numbers = {split: [task.seed for task in game.tasks(split)] for split in ("train", "test")}
    assert numbers == {"train": [0, 1, 2, 3, 5, 6], "test": [4]}
    assert game.notes == ["7 rows repeat another, and are left out."]


def test_rows_to_test_on_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"test_rows: .*empty\.json has no rows"):
        world("Sum", rows="ROWS", test_rows=str(tmp_path / "empty.json"))


def test_a_number_of_its_own_makes_no_other_row() -> None:
    rows = [{"id": n, "prompt": f"What is {n % 7} + 1?", "Question_ID": f"q{n}"} for n in range(21)]
    split, left_out = split_rows(rows)
    assert ([*split["train"]], [*split["test"]], left_out) == ([0, 1, 2, 3, 5, 6], [4], 14)
    for used in ({"id"}, {"Question_ID"}):  # `reset` chooses the game by it
        split, left_out = split_rows(rows, used=used)
        assert (len(split["train"]), len(split["test"]), left_out) == (17, 4, 0)
    alike = [{"prompt": "Play.", "id": n} for n in range(10)]
    assert [len(its) for its in split_rows(alike)[0].values()] == [8, 2]
    split, left_out = split_rows(rows, rows[3:5])
    assert ([*split["train"]], [*split["test"]], left_out) == ([0, 1, 2, 5, 6], [0, 1], 16)


@pytest.mark.parametrize(
    ("factory", "settings", "words"),
    [
        ("Wordel", {}, "Did you mean 'Wordle'"),
        ("NoTool", {}, "the method act of NoTool is no tool"),
        ("NoReward", {}, "has no get_reward"),
        ("Sum", {}, "needs start, goal: give rows"),
        ("Sum", {"rows": "nothing"}, "has no such name"),
        ("Sum", {"test_rows": "ROWS"}, "test_rows without rows"),
        ("Wordle", {"train_tasks": 0}, "must be 1 or more"),
    ],
)
def test_mistakes_in_the_settings(factory: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        world(factory, **settings)


def test_no_module() -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        TRL(TRLConfig("nonesuch_module", "Wordle"))
    with pytest.raises(ConfigError, match="module is missing"):
        TRL()
