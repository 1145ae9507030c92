"""TextCraft by AgentGym's rules: its tasks, how it reads actions, and what it answers."""

from __future__ import annotations

import re

from contrail import SPLITS, ConfigError, Observation, Step, Task, nearest
from contrail.envs.shared.agentgym import number_of, numbers_in, plain, task_id
from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig
from contrail.envs.textcraft.split import test_goals

# An action begins with one of these; Python refuses to read integers of thousands of digits.
CRAFT = re.compile(r"craft (.*) using (.*)")
GET = re.compile(r"get ([0-9]{1,9}) (.*)")
AMOUNT = re.compile(r"([0-9]{1,9}) (.*)")


class AgentGymTextCraft(TextCraft):
    """TextCraft with `like: agentgym`.

    A task's id is "agentgym-N": goal N by depth, and within a depth by the order in which a disk
    lists the recipes' files by name.
    """

    system_prompt = (
        "You are given recipes as crafting commands, and craft an item of Minecraft. A command has "
        'the form "craft [item] using [ingredients]". Each turn you see what has happened and '
        'answer with one action: "get" raw materials, "craft" by one of the commands, or look at '
        'what you have with "inventory".\n\n'
        '1. Give every number in "get" and "craft": get 1 lapis lazuli; craft 1 blue dye using '
        "1 lapis lazuli; craft 1 golden carrot using 8 gold nugget, 1 carrot.\n"
        '2. Do not say where you "get" things from.\n'
        "3. Use the given commands alone. Where one names a kind of ingredient, such as planks, "
        "name one of its sort, such as dark oak planks."
    )
    max_turns = 30
    forms = ()  # another framework's interface stays as it is there

    def __init__(self, config: TextCraftConfig | None = None) -> None:
        super().__init__(config)
        if self.config.seeds_per_goal != 1:
            raise ConfigError(
                "textcraft: with like: agentgym, every goal is one task. Leave out seeds_per_goal."
            )
        depths = self._book.depths
        self._goals = sorted(depths, key=lambda goal: depths[goal])
        self._over = False
        tests = test_goals(self._book)
        self._tests = {number for number, goal in enumerate(self._goals) if goal in tests}
        if self.config.test_ids:
            numbers = numbers_in(self.config.test_ids)
            self._tests = {number % len(self._goals) for number in numbers}

    def tasks(self, split: str) -> list[Task]:
        """Return AgentGym's tasks in its order."""
        if split not in SPLITS:
            raise ConfigError(f"textcraft has no split {split!r}. {nearest(split, SPLITS)}")
        depths = self._book.depths
        return [
            Task("textcraft", task_id(number), number, split, depths[goal])
            for number, goal in enumerate(self._goals)
            if depths[goal] in self.config.depths and (number in self._tests) == (split == "test")
        ]

    def reset(self, task: Task) -> Observation:
        self._over = False
        return super().reset(task)

    def step(self, action: str) -> Step:
        if not self._goal:
            raise RuntimeError("textcraft: reset(task) comes before step(action).")
        if self._over:
            return Step(Observation("The episode is over.", ()), terminated=True, valid=False)
        words = plain(action)
        if match := CRAFT.match(words):
            text, valid = self._crafted(match[1], match[2])
        elif match := GET.match(words):
            text, valid = self._got(int(match[1]), match[2])
        elif words.startswith("inventory"):
            held = "".join(f"[{item}] ({number}) " for item, number in self._inventory.items())
            text, valid = f"Inventory: {held or 'You are not carrying anything.'}", True
        else:
            text, valid = "Could not execute that. Use get, craft or inventory.", False
        actions = () if self._over else self._actions()
        done = self._over
        return Step(Observation(text, actions), float(done), done, success=done, valid=valid)

    def _limit(self) -> int:
        return type(self).max_turns

    def _goal_of(self, task: Task) -> str:
        return self._goals[number_of(task.id) % len(self._goals)]

    def _got(self, number: int, item: str) -> tuple[str, bool]:
        """Get things; return the answer, and whether the action was carried out."""
        if item not in self._book.gettable:
            return f"Could not find {self._known(item)}", False
        self._inventory[item] = self._inventory.get(item, 0) + number
        return f"Got {number} {item}", True

    def _crafted(self, output: str, using: str) -> tuple[str, bool]:
        """Craft; return the answer, and whether the action was carried out."""
        amount = AMOUNT.match(output)
        output = amount[2] if amount else output
        parts = [AMOUNT.match(part.strip()) for part in using.split(",")]
        given = [(part[2], int(part[1])) for part in parts if part]
        if len(given) < len(parts):
            return "Wrong format: each item is a number and a name.", False
        if any(self._inventory.get(item, -1) < number for item, number in given):
            return f"Could not craft {self._known(output)}: not enough items.", False
        recipe = self._book.match(output, given)
        if recipe is None:
            return f"Could not craft {self._known(output)}: no such recipe.", False
        for item, number in given:
            self._inventory[item] -= number
            if not self._inventory[item]:
                del self._inventory[item]
        self._inventory[output] = self._inventory.get(output, 0) + recipe.count
        self._over = output == self._goal
        return f"Crafted {recipe.count} minecraft:{output.replace(' ', '_')}", True
