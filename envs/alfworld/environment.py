"""ALFWorld: household tasks in text (arXiv:2010.03768), on its own engine.

The games are ALFWorld's own if they are installed; otherwise they are generated from the rooms,
goals and rules in its package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Literal

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
from contrail.envs.alfworld import data as alfworld_data

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
GENERATED = "generated"
GENERATED_TESTS = ("valid_seen", "valid_unseen")
LONGEST_ACTION = 200
# The benchmark's games say "put X in/on Y", the grammar of alfworld 0.4 "move X to Y".
PUT = re.compile(r"(?:put|move) (.+?) (?:in/on|into|onto|in|on|to) (.+)")
NOTHING = "Nothing happens."
NAME = re.compile(r"generated/(\w+)/FloorPlan(\d{1,3})/(\d{1,9})")


@dataclass
class AlfWorldConfig:
    """The keys of alfworld in stream.yaml."""

    data: str | None = field(default=None, metadata={"path": (GENERATED,)})
    """A directory with ALFWorld's games (json_2.1.1), or "generated". By default, the
    directory in the variable ALFWORLD_DATA; if it is not set, generated games."""
    train_splits: list[str] = field(default_factory=lambda: ["train"])
    """The ALFWorld splits to train on."""
    test_splits: list[str] = field(default_factory=lambda: ["valid_unseen"])
    """The ALFWorld splits to test on: "valid_unseen" has rooms without training tasks, "valid_seen"
    the rooms of training. Generated games have both as well. The two splits answer different
    questions: to measure both, list the environment twice, with two labels."""
    task_types: list[str] = field(default_factory=lambda: list(TASK_TYPES))
    """The kinds of tasks; a task's kind is also its difficulty."""
    train_tasks: int = field(default=500, metadata={"min": 1})
    """The number of generated games to train on. ALFWorld's own games are always all used."""
    test_tasks: int = field(default=100, metadata={"min": 1})
    """The number of generated games to test on."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""


class AlfWorld(Environment):
    """Find things in a house, clean, heat or cool them, and put them where they belong.

    A task's id is the directory of its game ("valid_seen/pick_…/trial_…"), or for a generated one
    "generated/<task type>/FloorPlan<n>/<seed>". The reward is 1 when the task is done.
    """

    Config = AlfWorldConfig
    system_prompt = (
        "You are in a house and have a task. Give one action a turn: go to X, open X, close X, "
        "take X from Y, put X in/on Y, use X, clean X with Y, heat X with Y, cool X with Y, "
        "examine X, look, inventory. Write the names as they stand in the text, with their "
        f'numbers. "{NOTHING}" means that the action could not be done.'
    )
    max_turns = 30
    forms = (
        *("go to {X}", "open {X}", "close {X}", "take {X from Y}", "put {X in/on Y}", "use {X}"),
        *("clean {X with Y}", "heat {X with Y}", "cool {X with Y}", "examine {X}"),
        # The games list other words for "put", and one action that the prompt leaves out.
        *("look", "inventory", "move {X to Y}", "help"),
    )
    idle = ("look", "inventory")
    workers = 4

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        for kind in TASK_TYPES:
            yield {"task_types": [kind]}, f"A kind of ALFWorld's tasks: {kind.replace('_', ' ')}."

    def __new__(
        cls, config: AlfWorldConfig | None = None, *others: object, **named: object
    ) -> AlfWorld:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is AlfWorld and config is not None and config.like == "agentgym":
            from contrail.envs.alfworld.agentgym import AgentGymAlfWorld

            return super().__new__(AgentGymAlfWorld)
        return super().__new__(cls)

    def __init__(self, config: AlfWorldConfig | None = None) -> None:
        super().__init__(config)
        self._engine, self._generate = _load()
        for task_type in self.config.task_types:
            if task_type not in TASK_TYPES:
                known = nearest(task_type, TASK_TYPES)
                raise ConfigError(f"alfworld has no task type {task_type!r}. {known}")
        if not self.config.task_types:
            raise ConfigError("alfworld: task_types is empty; leave it out for all six.")
        both = set(self.config.train_splits) & set(self.config.test_splits)
        if both:
            raise ConfigError(f"alfworld: {min(both)} is in both train_splits and test_splits.")
        if not self.config.test_splits:
            raise ConfigError("alfworld: test_splits is empty; leave it out for valid_unseen.")
        data = self.config.data or os.environ.get("ALFWORLD_DATA") or GENERATED
        self._root = None if data == GENERATED else alfworld_data.games_root(data)
        for part in self.config.test_splits if self._root is None else ():
            if part not in GENERATED_TESTS:
                raise ConfigError(
                    f"alfworld: generated games have no test split {part!r}. "
                    f"{nearest(part, GENERATED_TESTS)}"
                )
        self.about_data = (
            "generated games; ALFWorld's own with data or ALFWORLD_DATA (alfworld-download)"
            if self._root is None
            else f"ALFWorld's own games in {self._root}"
        )
        self._left: dict[str, list[str]] = {}  # what `tasks` has left out, by split
        self._game: Any = None
        self._won = False
        self._commands: dict[str, str] = {}

    def tasks(self, split: str) -> list[Task]:
        """ALFWorld's games of the splits chosen for this one, or generated ones in ALFRED's rooms
        for it."""
        if split not in SPLITS:
            raise ConfigError(f"alfworld has no split {split!r}. {nearest(split, SPLITS)}")
        config = self.config
        types = [name for name in TASK_TYPES if name in config.task_types]
        if self._root is None:
            number = config.train_tasks if split == "train" else config.test_tasks
            parts = ["train"] if split == "train" else list(dict.fromkeys(config.test_splits))
            share, rest = divmod(number, len(parts))
            return [
                Task("alfworld", f"{GENERATED}/{name}/FloorPlan{plan}/{seed}", seed, split, name)
                for place, part in enumerate(parts)
                for name, plan, seed in self._generate.names(part, types, share + (place < rest))
            ]
        splits = config.train_splits if split == "train" else config.test_splits
        games, left = alfworld_data.list_games(self._root, splits, types)
        self._left[split] = [
            f"{count} of {len(games) + left.total()} games in {', '.join(splits)} left out: {why}"
            for why, count in left.items()
        ]
        self.notes = [note for notes in self._left.values() for note in notes]
        return [Task("alfworld", name, 0, split, kind) for name, kind in games.items()]

    def game(self, task: Task) -> str:
        return task.id

    def reset(self, task: Task) -> Observation:
        self.close()
        data, _ = self._read(task)
        game = self._engine.Game(data)
        try:
            state = game.reset()
        except ValueError as error:
            game.close()
            raise ValueError(f"alfworld: {task.id}: {error}") from error
        self._game = game
        self._won = bool(state.won)
        # Without the engine's greeting.
        return self._observe(state, state.feedback.partition("\n\n")[2] or state.feedback)

    def step(self, action: str) -> Step:
        if self._game is None:
            raise RuntimeError("alfworld: reset(task) comes before step(action).")
        if self._won:
            over = Observation("The episode is over.", [])
            return Step(over, terminated=True, success=True, valid=False)
        command = self._command_of(action)
        if command is None:  # as the engine answers, which is slow
            return Step(Observation(NOTHING, [*self._commands.values()]), valid=False)
        state, _, _ = self._game.step(command)
        self._won = bool(state.won)
        # "You arrive at loc 12." is of no use: places have names, locations have none.
        seen = self._observe(state, re.sub(r"^You arrive at loc \d+\. ", "", state.feedback))
        return Step(seen, float(self._won), terminated=self._won, success=self._won)

    def _command_of(self, action: str) -> str | None:
        """Return the engine's command for an action; None if it is not admissible."""
        action = read_action(action, self._commands)
        return self._commands.get(plain(action)) if len(action) <= LONGEST_ACTION else None

    def expert(self, task: Task) -> list[str] | None:
        """Return the play of alfworld's own hand-coded expert without its detours; None if it gives
        up."""
        from contrail.envs.alfworld.expert import play

        data, goal = self._read(task)
        return play(data, goal, task.id)

    def close(self) -> None:
        if self._game is not None:
            self._game.close()
            self._game = None

    def _read(self, task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a task's game, and the data of it that alfworld's expert needs."""
        if named := NAME.fullmatch(task.id):
            name, plan, seed = named[1], int(named[2]), int(named[3])
            parts = ("train",) if task.split == "train" else GENERATED_TESTS
            if any(self._generate.holds(part, name, plan, seed) for part in parts):
                data, goal = self._generate.game(name, plan, seed)
                return data, goal
        elif self._root is not None and not task.id.startswith(f"{GENERATED}/"):
            root = self._root
            return alfworld_data.read_game(root, task.id), alfworld_data.read_task(root, task.id)
        raise ValueError(f"alfworld has no task {task.id!r}; tasks() lists them.")

    def _observe(self, state: Any, text: str) -> Observation:
        self._commands = {plain(command): command for command in state.admissible_commands}
        return Observation(text.strip(), [] if self._won else [*self._commands.values()])


@cache
def _load() -> tuple[ModuleType, ModuleType]:
    """Return the engine and the generator. Importing textworld draws from numpy's global
    generator."""
    import numpy

    state = numpy.random.get_state()  # noqa: NPY002
    try:
        from contrail.envs.alfworld import engine as alfworld_engine
        from contrail.envs.alfworld import generate as alfworld_generate
    finally:
        numpy.random.set_state(state)  # noqa: NPY002
    return alfworld_engine, alfworld_generate


def plain(action: str) -> str:
    """Return an action in lower case and single spaces, and in one grammar of the two."""
    words = " ".join(action.lower().split())
    match = PUT.fullmatch(words)
    return f"put {match[1]} in/on {match[2]}" if match else words


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register alfworld."""
    register("alfworld", AlfWorld)
