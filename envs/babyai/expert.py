"""Good plays of BabyAI: the play of minigrid's bot in the actions of the text interface."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from contrail.envs.babyai.world import (
    DROP,
    FORWARD,
    PICKUP,
    RIGHT,
    TOGGLE,
    Cell,
    Pose,
    World,
    front,
    plan,
    routes,
)

PUSHES = 100
"""Subgoals that the bot may add while it looks for one step."""
STEPS = 1000
"""The longest play, in steps or in turns."""


class Landmark(NamedTuple):
    """Something a play must do at a cell: face it (step None), pick up, drop or toggle there."""

    step: int | None
    cell: Cell
    through: bool = False
    """Whether the bot walks through the door that it has just toggled."""


class Stuck(Exception):
    """The bot plans endlessly, or its play cannot be expressed in actions."""


class Plan(list[Any]):
    """The bot's stack of subgoals, which refuses to grow without end.

    The bot has one loop that may never end: it replans until a subgoal names a step, and every
    round that names none pushes a subgoal. So counting pushes bounds it, in any thread, and the
    same on every machine; a clock would not.
    """

    budget = PUSHES

    def append(self, subgoal: Any) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise Stuck("the bot plans without end")
        super().append(subgoal)


def play(
    make: Callable[[], Any], seed: int, turns: int, world: type[World] = World
) -> list[str] | None:
    """Return the actions of a good play, or None where the bot finds none.

    Args:
        make: makes a fresh game of the level.
        seed: which start state of it.
        turns: how long the play may be, if possible.
        world: the class of a game in progress, with the actions of which the play is made.
    """
    try:
        marks = landmarks(World(make(), seed))
        # If it ends with the game, the last action may lead into the doorway.
        marks[-1] = marks[-1]._replace(through=world.ends_with_the_game)
        told = tell(world(make(), seed), marks)
    except (Stuck, AssertionError, AttributeError, IndexError, TypeError, ValueError):
        return None  # the bot gives up in many ways, none of them its own
    # The bot looks behind doors without finding anything: leave out useless steps.
    for place in reversed(range(len(marks))):
        if len(told) <= turns:
            break
        if marks[place].step == TOGGLE:
            fewer = marks[:place] + marks[place + 1 :]
            with contextlib.suppress(Stuck):
                shorter = tell(world(make(), seed), fewer)
                if len(shorter) < len(told):
                    told, marks = shorter, fewer
    return told


def landmarks(world: World) -> list[Landmark]:
    """Let the bot solve the game, and record its actions other than walking."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    found: list[Landmark] = []

    def step(number: int) -> None:
        cell, before = front(world.pose), progress(world.game.instrs)
        thing = world.at(cell)
        opened = getattr(thing, "is_open", None)
        world.act([number])
        if number in (PICKUP, DROP, TOGGLE):
            if world.at(cell) is not thing or getattr(thing, "is_open", None) != opened:
                found.append(Landmark(number, cell))
        elif world.solved or progress(world.game.instrs) != before:
            found.append(Landmark(None, front(world.pose)))
        if found and found[-1].step == TOGGLE and world.pose[:2] == found[-1].cell:
            found[-1] = found[-1]._replace(through=True)

    for box, thing in world.things():
        if thing.contains is not None:  # the bot cannot imagine a key in a box
            ways = routes([world.pose], world.free(seen_only=False))
            end = next(pose for pose in ways if front(pose) == box)
            for number in [*plan(ways, end), TOGGLE]:
                step(number)

    bot = BabyAIBot(world.game)  # type: ignore[no-untyped-call]
    bot.stack = stack = Plan(bot.stack)
    if world.game.carrying:
        del stack[-2:]  # it has in hand what it would first go and look for
    for _ in range(STEPS):
        stack.budget = PUSHES
        number = int(bot.replan())  # type: ignore[no-untyped-call]
        if number > TOGGLE:
            raise Stuck("the bot believes that it is done")
        step(number)
        if world.solved:
            return found
        if world.terminated or world.truncated:
            break
    raise Stuck("the bot does not get there")


def progress(instruction: Any) -> list[Any]:
    """Which parts of a compound instruction are done."""
    if not hasattr(instruction, "instr_a"):
        return []
    return [
        getattr(instruction, "a_done", None),
        getattr(instruction, "b_done", None),
        *progress(instruction.instr_a),
        *progress(instruction.instr_b),
    ]


def tell(world: World, marks: list[Landmark]) -> list[str]:
    """Do the same with fewer actions."""
    told: list[str] = []
    for mark in marks:
        while not world.solved:
            can = world.actions()
            action, done = choose(world, mark, can)
            told.append(action)
            world.act(can[action])
            if world.terminated != world.solved or world.truncated or len(told) > STEPS:
                raise Stuck("the play cannot be told")
            if done:
                break
    if not world.solved:
        raise Stuck("the play does not solve the task")
    return told


def choose(world: World, mark: Landmark, can: dict[str, list[int]]) -> tuple[str, bool]:
    """Return the next action on the way to a landmark, and whether it brings the landmark about."""
    whole = world.doing(*mark)
    if whole in can:
        return whole, True
    if front(world.pose) == mark.cell:
        single = {DROP: "drop", TOGGLE: "toggle"}.get(mark.step or -1, "")
        if single in can:
            return single, True
    # Of the moves at hand take the one that leaves the shortest way. A way from a pose to the
    # landmark is the way back with every pose turned round: one search answers for all poses.
    free = world.free(seen_only=False)
    goals = [
        (x, y, direction)
        for x, y in free | {world.pose[:2]}
        for direction in range(4)
        if front((x, y, direction)) == mark.cell
    ]
    back = routes([turned(goal) for goal in goals], free)
    left = {
        action: back[turned(end)][0]
        for action, steps in can.items()
        if steps
        and not {PICKUP, DROP, TOGGLE} & set(steps)
        and turned(end := after(world.pose, steps, free)) in back
    }
    if not left:
        raise Stuck("there is no way to where the bot went")
    return min(left, key=lambda action: (left[action], len(can[action]))), (
        mark.step is None and min(left.values()) == 0
    )


def turned(pose: Pose) -> Pose:
    """Return the same place, facing the other way."""
    return pose[0], pose[1], (pose[2] + 2) % 4


def after(pose: Pose, steps: list[int], free: set[Cell]) -> Pose:
    """Where a walk ends."""
    for step in steps:
        x, y, direction = pose
        if step == FORWARD:
            ahead = front(pose)
            pose = (*ahead, direction) if ahead in free else pose
        else:
            pose = (x, y, (direction + (1 if step == RIGHT else -1)) % 4)
    return pose
