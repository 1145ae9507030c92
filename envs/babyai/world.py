"""One game of BabyAI as text and actions: what the agent sees, and what it can do.

The module imports nothing of minigrid: it receives a made game.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Cell = tuple[int, int]
Pose = tuple[int, int, int]
"""x, y and direction: 0 east, 1 south, 2 west, 3 north (y grows southwards, as in minigrid)."""

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE = range(6)
"""minigrid's own steps. Every action of the agent is carried out as a plan of these."""

AHEAD: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
UNSEEN, WALL = 0, 2  # minigrid's numbers in an observed image
THINGS = ("door", "key", "ball", "box")

Routes = dict[Pose, tuple[int, Pose, int]]
"""Reachable poses, nearest first: how many steps away, the pose before, the step from there."""


def front(pose: Pose) -> Cell:
    """Return the cell that a pose faces."""
    x, y, direction = pose
    dx, dy = AHEAD[direction]
    return x + dx, y + dy


def routes(starts: Iterable[Pose], free: set[Cell]) -> Routes:
    """Shortest ways, counted in steps and turns, from any of the starts over free cells."""
    found: Routes = {start: (0, start, -1) for start in starts}
    queue = list(found)
    for pose in queue:  # grows while it is walked
        x, y, direction = pose
        steps = found[pose][0] + 1
        ahead = front(pose)
        for step, after in (
            (FORWARD, (*ahead, direction)),
            (LEFT, (x, y, (direction - 1) % 4)),
            (RIGHT, (x, y, (direction + 1) % 4)),
        ):
            if after not in found and (step != FORWARD or ahead in free):
                found[after] = (steps, pose, step)
                queue.append(after)
    return found


def plan(found: Routes, pose: Pose) -> list[int]:
    """Return the steps that lead to a pose of `routes`."""
    steps: list[int] = []
    while found[pose][0]:
        _, before, step = found[pose]
        steps.append(step)
        pose = before
    return steps[::-1]


def passable(thing: Any) -> bool:
    """Return whether the agent can stand on a cell: an empty one, or an open door."""
    return thing is None or (thing.type == "door" and thing.is_open)


class World:
    """A game in progress.

    Args:
        game: an unwrapped BabyAI game of minigrid.
        seed: which start state of it.
    """

    ends_with_the_game = True
    """Whether a plan stops where the game ends."""

    def __init__(self, game: Any, seed: int) -> None:
        self.game = game
        self.solved = self.terminated = self.truncated = False
        self._seen: set[Cell] = set()
        # Numbers are given in the order in which things are first seen, and kept: "red ball 2" is
        # the same ball throughout an episode. Things are distinguished by identity.
        self._known: dict[str, list[Any]] = {}
        self._look(game.reset(seed=seed)[0]["image"])

    @property
    def pose(self) -> Pose:
        x, y = self.game.agent_pos
        return int(x), int(y), int(self.game.agent_dir)

    def at(self, cell: Cell) -> Any:
        """Return the thing in a cell, or None."""
        return self.game.grid.get(*cell)

    def things(self) -> list[tuple[Cell, Any]]:
        """Return all there is in the grid but walls, seen or not."""
        width = self.game.width
        return [
            ((index % width, index // width), thing)
            for index, thing in enumerate(self.game.grid.grid)
            if thing is not None and thing.type in THINGS
        ]

    def name(self, thing: Any) -> str:
        """Colour, type and number: "red ball 1"."""
        kind = f"{thing.color} {thing.type}"
        known = self._known.setdefault(kind, [])
        for number, other in enumerate(known, 1):
            if other is thing:
                return f"{kind} {number}"
        known.append(thing)
        return f"{kind} {len(known)}"

    def free(self, seen_only: bool = True) -> set[Cell]:
        """Return the cells that can be walked on, of those seen so far or of the whole grid."""
        grid = self.game.grid
        every = ((x, y) for x in range(grid.width) for y in range(grid.height))
        return {cell for cell in (self._seen if seen_only else every) if passable(self.at(cell))}

    def act(self, steps: Sequence[int]) -> None:
        """Carry out a plan, until the end of the game at most."""
        for step in steps:
            obs, reward, self.terminated, out_of_steps, _ = self.game.step(step)
            self._look(obs["image"])
            self.solved = self.terminated and float(reward) > 0
            self.truncated = out_of_steps and not self.terminated
            if self.terminated or self.truncated:
                return

    def text(self) -> str:
        """Return the goal, things in view with their places, walls, and what is carried.

        The goal costs some eight tokens and is in every observation: a small model looks back
        poorly, and equal states have equal texts however they arise.
        """
        things = [f"{self.name(thing)} ({self._place(thing, cell)})" for cell, thing in self.view]
        carried = self.game.carrying
        return " ".join(
            [
                f"Your goal: {self.game.mission}.",
                f"You see {', '.join(things) or 'nothing'}.",
                *([f"Wall {', '.join(self._walls)}."] if self._walls else []),
                f"You carry {f'a {carried.color} {carried.type}' if carried else 'nothing'}.",
            ]
        )

    def actions(self) -> dict[str, list[int]]:
        """Return the actions that are possible now, in a stable order, with the plan of each."""
        found = routes([self.pose], self.free())
        nearest: dict[Cell, Pose] = {}
        for pose in found:
            nearest.setdefault(front(pose), pose)

        can = {"turn left": [LEFT], "turn right": [RIGHT]}
        here = front(self.pose)
        ahead = self.at(here)
        if passable(ahead):
            can["move forward"] = [FORWARD]
        for cell, thing in self.view:
            if cell not in nearest:
                continue
            name, way = self.name(thing), plan(found, nearest[cell])
            if way:
                can[f"go to {name}"] = way
            if thing.type != "door":
                if not self.game.carrying:
                    can[f"pickup {name}"] = [*way, PICKUP]
            elif thing.is_open:
                # The second step leaves the doorway; it does nothing if that is obstructed.
                can[f"go through {name}"] = [*way, FORWARD, FORWARD]
            elif self._opens(thing):
                can[f"toggle and go through {name}"] = [*way, TOGGLE, FORWARD, FORWARD]
        if self.game.carrying and ahead is None:
            can["drop"] = [DROP]
        if ahead is not None and (ahead.type == "box" or self._opens(ahead)):
            can["toggle"] = [TOGGLE]
        return can

    def doing(self, step: int | None, cell: Cell, through: bool) -> str:
        """Return the action that goes to a thing in view and takes a step there, or faces it.

        Args:
            step: PICKUP or TOGGLE; None to face it.
            cell: where the thing is.
            through: whether to walk on, through the toggled door.
        """
        thing = self.at(cell)
        name = self.name(thing) if any(thing is other for _, other in self.view) else ""
        return {
            None: f"go to {name}",
            PICKUP: f"pickup {name}",
            TOGGLE: f"toggle and go through {name}" if through else "",
        }.get(step, "")

    def _opens(self, thing: Any) -> bool:
        key = self.game.carrying
        return thing.type == "door" and (
            not thing.is_locked
            or (key is not None and (key.type, key.color) == ("key", thing.color))
        )

    def _place(self, thing: Any, cell: Cell) -> str:
        ahead, right = self._relative(cell)
        words = [f"{ahead} ahead"] if ahead else []
        if right:
            words.append(f"{abs(right)} {'right' if right > 0 else 'left'}")
        if thing.type == "door":
            words.insert(0, "open" if thing.is_open else "locked" if thing.is_locked else "closed")
        return ", ".join(words)

    def _relative(self, cell: Cell) -> Cell:
        """Steps ahead and steps to the right."""
        x, y, direction = self.pose
        (dx, dy), right = (cell[0] - x, cell[1] - y), (direction + 1) % 4
        return (
            dx * AHEAD[direction][0] + dy * AHEAD[direction][1],
            dx * AHEAD[right][0] + dy * AHEAD[right][1],
        )

    def _look(self, image: Any) -> None:
        """Look: remember the cells in view, name their things, measure their walls."""
        size = len(image)
        x, y, direction = self.pose
        (ax, ay), (rx, ry) = AHEAD[direction], AHEAD[(direction + 1) % 4]
        self.view: list[tuple[Cell, Any]] = []
        for i in range(size):
            for j in range(size):
                if image[i, j, 0] == UNSEEN:
                    continue
                right, ahead = i - size // 2, size - 1 - j
                cell = (x + ahead * ax + right * rx, y + ahead * ay + right * ry)
                if not (0 <= cell[0] < self.game.width and 0 <= cell[1] < self.game.height):
                    continue  # minigrid shows what lies beyond the world as wall
                self._seen.add(cell)
                thing = self.at(cell)
                if (right or ahead) and thing is not None and thing.type in THINGS:
                    self.view.append((cell, thing))
        self.view.sort(key=lambda seen: self._nearness(seen[0]))
        for _, thing in self.view:
            self.name(thing)

        self._walls: list[str] = []
        middle = size // 2
        for word, line in (
            ("ahead", image[middle, size - 2 :: -1, 0]),
            ("left", image[middle - 1 :: -1, size - 1, 0]),
            ("right", image[middle + 1 :, size - 1, 0]),
        ):
            kinds = [int(kind) for kind in line]
            if WALL in kinds:
                self._walls.append(f"{kinds.index(WALL) + 1} {word}")

    def _nearness(self, cell: Cell) -> tuple[int, int, int]:
        ahead, right = self._relative(cell)
        return ahead + abs(right), ahead, right
