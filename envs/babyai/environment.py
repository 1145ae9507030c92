"""BabyAI: follow an instruction in a grid world seen through text.

minigrid's levels, with the actions and the way of speaking that AgentGym gives them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import count
from typing import Any, Literal

import contrail
from contrail import SPLITS, ConfigError, nearest
from contrail.envs.babyai.expert import play
from contrail.envs.babyai.world import World

AGENTGYM = """
GoToRedBallGrey GoToRedBall GoToRedBallNoDists GoToObjS6 GoToLocalS8N7 GoToObjMazeS7
GoToImpUnlock GoToSeqS5R2 GoToRedBlueBall GoToDoor GoToObjDoor Open OpenRedDoor OpenDoorLoc
OpenRedBlueDoorsDebug OpenDoorsOrderN4Debug Pickup UnblockPickup PickupLoc PickupDistDebug
PickupAbove PutNextLocalS6N4 PutNextS7N4Carrying Unlock UnlockLocalDist KeyInBox
UnlockPickupDist BlockedUnlockPickup UnlockToUnlock ActionObjDoor FindObjS7 KeyCorridorS6R3
OneRoomS20 MoveTwoAcrossS8N9 SynthS5R2 SynthLoc SynthSeq MiniBossLevel BossLevel
BossLevelNoUnlock
""".split()  # noqa: SIM905 (a literal would take 40 lines)
"""AgentGym's levels, numbered from 1."""

TEST_SHARE = 5  # one start state in five is a test task
BARREN = 100  # so many seeds in a row without a new start state: the level has no more
LONGEST_ACTION = 100
SIMPLE = "turn left|turn right|move forward|drop|toggle"

DIFFICULTY = {
    "easy": r"GoTo(RedBall.*|RedBlueBall|Obj(S\d)?|Local.*|Door|ObjDoor)|OpenRedDoor|"
    r"OpenDoor(Debug|Color|Loc|sOrderN\dDebug)?|Pickup(Loc|Dist.*)|ActionObjDoor|OneRoomS(8|12)",
    "hard": r"GoTo|GoToObjMaze(S6|S7)?|GoToImpUnlock|GoToSeq|Pickup|UnblockPickup|Unlock|"
    r"UnlockPickupDist|BlockedUnlockPickup|UnlockToUnlock|FindObj.*|KeyCorridor.*|MoveTwoAcross.*|"
    r"Synth|SynthS5R2|SynthSeq|MiniBossLevel|BossLevel.*",
}
"""Patterns of level names; all others are "medium". `difficulty` explains the classes."""


@dataclass
class BabyAIConfig:
    """The keys of babyai in stream.yaml."""

    levels: list[str] = field(default_factory=lambda: list(AGENTGYM))
    """Names of levels, with or without "BabyAI-" and version ("GoToLocal"), or AgentGym's numbers
    from 1 to 40. By default, AgentGym's 40 levels."""
    train_tasks: int = 500
    """The number of training tasks, divided evenly among the levels. A small level may have fewer
    start states than its share."""
    test_tasks: int = 100
    """The number of test tasks, divided in the same way."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""
    test_ids: str = field(default="", metadata={"path": ()})
    """With `like: agentgym`, AgentGym's file of the tasks to test on (AgentEval's
    babyai_test.json). By default, a fifth, by start states."""


class BabyAI(contrail.Environment):
    """Go to, open, pick up and put things in a grid world, as an instruction says.

    A task's id is its level and its seed, "GoToLocal-v0/seed-17". AgentGym's task n is level n mod
    40 + 1 with seed n div 40: see `agentgym_task`. The seed gives the same start state as there
    only with AgentGym's version of minigrid.
    """

    Config = BabyAIConfig
    system_prompt = (
        "You are in a grid world and see what is in front of you. Reach the goal. Give one action "
        "a turn: turn left, turn right, move forward, go to X, pickup X, drop, toggle (opens doors "
        "and boxes), go through X, toggle and go through X. X is a thing in view, such as "
        "red ball 1."
    )
    max_turns = 20
    forms: tuple[str, ...] = (
        *("turn left", "turn right", "move forward", "go to {X}", "pickup {X}", "drop", "toggle"),
        *("go through {X}", "toggle and go through {X}"),
    )
    mentions = r"(?<=^Not possible now: ).+(?=\.$)"
    about_data = "made from seeds: any number"

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        for level in dict.fromkeys(unversioned(name) for name in registry()):
            yield {"levels": [level]}, f"A level of BabyAI, {difficulty(level)}."

    def __new__(
        cls, config: BabyAIConfig | None = None, *others: object, **named: object
    ) -> BabyAI:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is BabyAI and config is not None and config.like == "agentgym":
            from contrail.envs.babyai.agentgym import AgentGymBabyAI as cls
        return super().__new__(cls)

    def __init__(self, config: BabyAIConfig | None = None) -> None:
        super().__init__(config)
        if not self.config.levels:
            raise ConfigError("babyai: levels is empty; leave it out for AgentGym's 40 levels.")
        if min(self.config.train_tasks, self.config.test_tasks) < 0:
            raise ConfigError("babyai: train_tasks and test_tasks cannot be negative.")
        if self.config.test_ids and not self.config.like:
            raise ConfigError("babyai: test_ids is for like: agentgym.")
        self._levels = list(dict.fromkeys(resolve(level) for level in self.config.levels))
        self._world: World | None = None

    def tasks(self, split: str) -> list[contrail.Task]:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}")
        total = self.config.train_tasks if split == "train" else self.config.test_tasks
        share, rest = divmod(total, len(self._levels))
        found: list[contrail.Task] = []
        for place, level in enumerate(self._levels):
            found += start_tasks(level, split, share + (place < rest))
        return found

    def game(self, task: contrail.Task) -> str:
        return start_state(level_of(task), task.seed)[0]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self._world = World(maker(level_of(task))(), task.seed)
        return self._observe(self._world)

    def step(self, action: str) -> contrail.Step:
        if self._world is None:
            raise RuntimeError("babyai: step before reset")
        world, can = self._world, self._can
        action = contrail.read_action(action, can)
        # The longest action has some 40 letters: the rest of a flood of text is not looked at.
        wish = " ".join(action[:LONGEST_ACTION].lower().split())
        wish = re.sub(r"^pick up\b", "pickup", wish)
        answer = None
        if world.terminated or world.truncated:
            answer = "The episode is over."
        elif wish == "check available actions":
            answer = f"You can: {', '.join(can)}."
        elif len(action) <= LONGEST_ACTION and wish in can:
            world.act(can[wish])
        else:
            answer = refusal(wish)
        return contrail.Step(
            self._observe(world) if answer is None else contrail.Observation(answer, [*can]),
            reward=float(world.solved and answer is None),
            terminated=world.terminated,
            truncated=world.truncated,
            success=world.solved,
            valid=answer is None or wish == "check available actions",
        )

    def expert(self, task: contrail.Task) -> list[str] | None:
        """Return the actions of minigrid's bot, shortened; may exceed `max_turns`.

        None if the bot gives up: on a third of UnlockToUnlock, rarely elsewhere.
        """
        return play(maker(level_of(task)), task.seed, self.max_turns)

    def close(self) -> None:
        self._world = None

    def _observe(self, world: World) -> contrail.Observation:
        # "check available actions" is AgentGym's too and is understood, but not listed: an agent
        # that sees the list learns nothing from it.
        self._can = world.actions()
        return contrail.Observation(world.text(), [*self._can])


def agentgym_task(index: int) -> contrail.Task:
    """Return the task that AgentGym numbers `index`: level index mod 40 + 1, seed index div 40.

    Its split is contrail's own, by start state, not AgentGym's.
    """
    seed, number = divmod(index, len(AGENTGYM))
    level = resolve(AGENTGYM[number])
    return make_task(level, seed, split_of(start_state(level, seed)[0]))


def level_of(task: contrail.Task) -> str:
    return task.id.partition("/")[0]


def make_task(level: str, seed: int, split: str) -> contrail.Task:
    return contrail.Task("babyai", f"{level}/seed-{seed}", seed, split, difficulty(level))


def start_tasks(level: str, split: str, number: int) -> Iterator[contrail.Task]:
    """Yield the first seeds of a level whose start states belong to the split, each state once."""
    known: set[str] = set()
    barren = 0
    for seed in count():
        if len(known) >= number or barren >= BARREN:
            return
        state, solvable = start_state(level, seed)
        if not solvable or state in known or split_of(state) != split:
            barren += 1
            continue
        barren = 0
        known.add(state)
        yield make_task(level, seed, split)


def split_of(state: str) -> str:
    """Return the split of a start state, whose hash alone decides: one state has one split."""
    return "test" if int(state[:8], 16) % TEST_SHARE == 0 else "train"


@lru_cache(maxsize=1 << 16)
def start_state(level: str, seed: int) -> tuple[str, bool]:
    """Return a hash of mission, grid, the agent's place and what it carries; and whether it is
    solvable.

    The grid is turned so that the agent looks north: the agent sees only cells ahead, left and
    right of it, so states that differ by a rotation of the whole grid look the same.
    """
    import numpy as np

    game = maker(level)()
    game.reset(seed=seed)
    cells = np.zeros((game.width, game.height, 7), dtype=np.uint8)
    cells[..., :3] = game.grid.encode()
    for index, thing in enumerate(game.grid.grid):
        if thing is not None and thing.contains is not None:
            cells[index % game.width, index // game.width, 3:6] = thing.contains.encode()
    cells[(*game.agent_pos, 6)] = 1
    cells = np.ascontiguousarray(np.rot90(cells, (3 - game.agent_dir) % 4))
    carried = game.carrying.encode() if game.carrying else ()
    header = repr((game.mission, cells.shape, carried)).encode()
    return hashlib.sha256(header + cells.tobytes()).hexdigest(), not contradicts(game.instrs)


def contradicts(instruction: Any) -> bool:
    """Return whether nobody can follow the instruction: a fault of OpenDoorsOrder...Debug.

    There the second of two doors is strict: any other door opened in its turn is a failure. Its
    turn comes in the very step that opens the first, so that step always fails.
    """
    parts = {"BeforeInstr": "instr_b", "AfterInstr": "instr_a"}
    second = getattr(instruction, parts.get(type(instruction).__name__, ""), None)
    return bool(getattr(second, "strict", False))


def refusal(wish: str) -> str:
    """One line on why an action was not carried out."""
    if not wish:
        return "No action was given."
    if re.fullmatch(rf"{SIMPLE}|(go to|pickup|go through|toggle and go through) .+", wish) is None:
        return "That is not an action."
    # Only plain words are repeated: the text goes back to a model and onto disk.
    plain = wish.isascii() and wish.isprintable()
    return f"Not possible now: {wish if plain else 'no such thing is in view'}."


def difficulty(level: str) -> str:
    """Return the difficulty of a level, from the expert's turns on some 60 start states of each.

    Easy levels have one room and one thing to do: half of the plays take at most 3 turns, nine in
    ten at most 9. Hard levels have mazes, chains of locked doors or several things to do: half of
    the plays take 9 turns or more, or one in ten takes 20 or more. The rest is medium.
    """
    name = unversioned(level)
    return next(
        (grade for grade, names in DIFFICULTY.items() if re.fullmatch(names, name)), "medium"
    )


def resolve(level: str) -> str:
    """Return the name of a level in minigrid's registry, without "BabyAI-"."""
    name = str(level).strip()
    if name.isdecimal():
        if not 1 <= int(name) <= len(AGENTGYM):
            raise ConfigError(f"babyai: there is no level {name}; AgentGym numbers them 1 to 40.")
        name = AGENTGYM[int(name) - 1]
    name = name.removeprefix("BabyAI-")
    known = registry()
    if name in known:
        return name
    # Versions move on (GoToObjS6-v0 has become -v1): any version names the newest.
    base = unversioned(name)
    newest = [other for other in known if unversioned(other) == base]
    if not newest:
        names = dict.fromkeys(unversioned(other) for other in known)
        raise ConfigError(f"babyai: unknown level {level!r}. {nearest(base, names)}")
    return max(newest, key=lambda other: int(other.rpartition("-v")[2]))


def unversioned(name: str) -> str:
    return re.sub(r"-v\d+$", "", name)


@cache
def registry() -> dict[str, Any]:
    """minigrid's BabyAI levels by name."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium
    import minigrid  # noqa: F401  (registers the levels)
    from minigrid.envs.babyai.core import roomgrid_level

    # The generator prints each start state that it throws away. Redirecting stdout would catch
    # other threads' output too, so its `print` is shadowed instead.
    vars(roomgrid_level)["print"] = lambda *_: None
    prefix = "BabyAI-"
    return {
        name.removeprefix(prefix): spec
        for name, spec in gymnasium.registry.items()
        if name.startswith(prefix)
    }


@cache
def maker(level: str) -> Callable[[], Any]:
    """Return a function that makes a fresh game of a level in 0.1 ms, without state of the last
    one."""
    from gymnasium.envs.registration import load_env_creator

    spec = registry()[resolve(level)]
    creator = load_env_creator(spec.entry_point)
    return lambda: creator(**spec.kwargs)


@contrail.hookimpl
def contrail_environments(register: Callable[[str, type[contrail.Environment]], None]) -> None:
    register("babyai", BabyAI)
