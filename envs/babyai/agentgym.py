"""BabyAI by AgentGym's rules: its tasks, its list of actions, its rewards and ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import contrail
from contrail import SPLITS
from contrail.envs.babyai.environment import (
    AGENTGYM,
    BARREN,
    BabyAI,
    BabyAIConfig,
    difficulty,
    maker,
    resolve,
    split_of,
    start_state,
)
from contrail.envs.babyai.expert import play
from contrail.envs.babyai.world import (
    AHEAD,
    DROP,
    FORWARD,
    LEFT,
    PICKUP,
    RIGHT,
    TOGGLE,
    Cell,
    Pose,
    World,
    front,
)
from contrail.envs.shared.agentgym import number_of, numbers_in, plain, task_id

KINDS = {2: "wall", 4: "door", 5: "key", 6: "ball", 7: "box"}  # minigrid's numbers, as COLORS
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = ("open", "closed", "locked")
SOLID = ("wall", "key", "ball", "box")
BARRIERS = ("wall", "box")
CHECK = "check available actions"
COMPLETED = 0.5  # a game that is won with less goes on


class Sight(NamedTuple):
    """A thing in view."""

    kind: str
    name: str
    """Without a number: "red closed door"."""
    cell: Cell
    ahead: int
    right: int


class AgentGymBabyAI(BabyAI):
    """BabyAI with `like: agentgym`.

    A task's id is "agentgym-N": level N mod 40 + 1, seed N div 40. The rewards of an episode add up
    to what AgentGym calls its score.
    """

    system_prompt = (
        "You explore rooms to reach a goal. Every turn you are told what you see, and answer with "
        "an action.\n\nThe actions are:\n\n- turn right\n\n- turn left\n\n- move forward\n\n"
        "- go to <obj> <id>\n\n- pickup <obj> <id>\n\n"
        "- go through <door> <id>: for an open door.\n\n"
        "- toggle and go through <door> <id>: for a closed door, or a locked one if you carry a "
        "key of its color.\n\n- toggle: opens the closed or locked door right in front of you."
    )
    max_turns = 20
    forms = ()  # another framework's interface stays as it is there

    def __init__(self, config: BabyAIConfig | None = None) -> None:
        super().__init__(config)
        path = self.config.test_ids
        self._tests = sorted(numbers_in(path)) if path else []

    def tasks(self, split: str) -> list[contrail.Task]:
        """Return tasks in AgentGym's order: those of `test_ids`, or the first of the split."""
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}")
        if split == "test" and self.config.test_ids:
            return [_task(n, split) for n in self._tests if start_of(n)[0] in self._levels]
        total = self.config.train_tasks if split == "train" else self.config.test_tasks
        tested = {start_state(*start_of(number))[0] for number in self._tests}
        found: list[contrail.Task] = []
        barren = 0
        for number in count():
            if len(found) >= total or barren >= BARREN * len(AGENTGYM):
                return found
            level, seed = start_of(number)
            barren += 1
            if level not in self._levels:
                continue
            state = start_state(level, seed)[0]
            if (state not in tested) if tested else (split_of(state) == split):
                found.append(_task(number, split))
                barren = 0
        raise AssertionError("unreachable")

    def game(self, task: contrail.Task) -> str:
        return start_state(*start_of(number_of(task.id)))[0]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        level, seed = start_of(number_of(task.id))
        self._world = world = AgentGymWorld(maker(level)(), seed)
        self._can = world.actions()
        self._score = 0.0
        return contrail.Observation(f"Your goal: {world.goal}\n{world.text()}", [*self._can])

    def step(self, action: str) -> contrail.Step:
        world = self._world
        if not isinstance(world, AgentGymWorld):
            raise RuntimeError("babyai: step before reset")
        if world.terminated:
            over = contrail.Observation("The episode is over.", [])
            return contrail.Step(over, terminated=True, success=world.solved, valid=False)
        wish, listed = plain(action).lower(), self._can
        if "check" in wish:
            text = f"You can: {', '.join(listed)}."
        elif listed.get(wish):
            world.act(listed[wish])
            self._can = world.actions()
            text = world.text()
        elif wish in listed or not wish:
            text = "Nothing changes."
        else:
            text = world.refused.get(wish, f"That is not an action. To see all: {CHECK}.")
        # Until an action is carried out, the reward of the last one counts again every turn.
        self._score += world.reward
        return contrail.Step(
            contrail.Observation(text, [*self._can]),
            world.reward,
            terminated=world.terminated,
            success=world.solved,
            valid="check" in wish or wish in listed,
            info={"score": self._score},
        )

    def expert(self, task: contrail.Task) -> list[str] | None:
        """Return the play of minigrid's bot in AgentGym's actions; None where it is not won so."""
        level, seed = start_of(number_of(task.id))
        return play(maker(level), seed, self.max_turns, AgentGymWorld)


class AgentGymWorld(World):
    """A game as AgentGym shows it, and plays on after it is lost or won late."""

    ends_with_the_game = False

    def __init__(self, game: Any, seed: int) -> None:
        self.reward = 0.0
        self.refused: dict[str, str] = {}
        """Why known actions are not possible now."""
        self._ended = False  # as the game sees it
        self._actions_of: dict[tuple[int | None, Cell], str] = {}
        super().__init__(game, seed)
        self.goal = str(game.mission).replace("then", "and").replace("after you", "and")

    def _look(self, image: Any) -> None:
        super()._look(image)
        self._image = image
        self._sights = self._all_sights()

    def act(self, steps: Sequence[int]) -> None:
        """Carry out a plan until a step changes nothing in view, whatever the game says in between.

        So a goal that is reached on the way may be lost at the end of the plan.
        """
        for step in steps:
            before = self._image
            obs, reward, self._ended, _, _ = self.game.step(step)
            self._look(obs["image"])
            if (obs["image"] == before).all():
                break
        self.reward = float(reward)
        self.solved = self.terminated = self._ended and self.reward > COMPLETED

    def doing(self, step: int | None, cell: Cell, through: bool) -> str:
        return "" if step == TOGGLE and not through else self._actions_of.get((step, cell), "")

    def text(self) -> str:
        numbers: Counter[str] = Counter()
        things = []
        for sight in self._sights:
            if sight.kind != "wall":
                numbers[sight.name] += 1
                side = "right" if sight.right > 0 else "left"
                aside = f" and {abs(sight.right)} to your {side}" if sight.right else ""
                things.append(
                    f"{sight.name} {numbers[sight.name]} ({sight.ahead} steps ahead{aside})"
                )
        carried = self.game.carrying
        barrier = self._barrier()
        return " ".join(
            [
                f"You see: {', '.join(things)}." if things else "You see nothing.",
                *([f"Ahead is a {barrier.kind}, {barrier.ahead} steps away."] if barrier else []),
                f"You carry {f'a {carried.color} {carried.type}' if carried else 'nothing'}.",
                *(["The task is completed."] if self._ended else []),
            ]
        )

    def actions(self) -> dict[str, list[int]]:
        """Return AgentGym's list in its order, with the plan of each action."""
        sights = self._sights
        facing, standing = self._ways(sights)
        can: dict[str, list[int]] = {"turn left": [LEFT], "turn right": [RIGHT]}
        self.refused, self._actions_of = {}, {}
        barrier, carried = self._barrier(), self.game.carrying
        if barrier is None or barrier.ahead > 1:
            can["move forward"] = [FORWARD]
        else:
            self.refused["move forward"] = "You cannot move forward: there is a barrier."
        if carried is None:
            things = [sight for sight in sights if sight.kind not in ("wall", "door")]
            self._list("pickup", PICKUP, things, facing, [PICKUP], can)
            self.refused["drop"] = "You cannot drop anything: you carry nothing."
        elif any(s.cell == front(self.pose) and s.kind in SOLID for s in sights):
            self.refused["drop"] = "You cannot drop it: there is something in front of you."
        else:
            can["drop"] = [DROP]
        self._list_doors(sights, facing, standing, can)
        self._list("go to", None, [s for s in sights if s.kind != "wall"], facing, [], can)
        can[CHECK] = []
        return can

    def _list(
        self,
        verb: str,
        step: int | None,
        sights: list[Sight],
        ways: dict[Cell, list[int]],
        end: list[int],
        can: dict[str, list[int]],
    ) -> None:
        """List a verb for the things in view. Only things that can be reached have numbers."""
        numbers: Counter[str] = Counter()
        for sight in sights:
            action = f"{verb} {sight.name} {numbers[sight.name] + 1}"
            if sight.cell in ways:
                numbers[sight.name] += 1
                can[action] = ways[sight.cell] + end
                if can[action]:
                    self._actions_of[step, sight.cell] = action
            else:
                self.refused[action] = f"You cannot {action}: there is no way to it."

    def _list_doors(
        self,
        sights: list[Sight],
        facing: dict[Cell, list[int]],
        standing: dict[Cell, list[int]],
        can: dict[str, list[int]],
    ) -> None:
        numbers: Counter[str] = Counter()
        carried = self.game.carrying
        for sight in sights:
            if sight.kind != "door":
                continue
            numbers[sight.name] += 1
            door = f"{sight.name} {numbers[sight.name]}"
            color, state, _ = sight.name.split()
            walk, toggle = f"go through {door}", f"toggle and go through {door}"
            if state == "open":
                if sight.cell in standing:
                    can[walk] = standing[sight.cell]
                else:
                    self.refused[walk] = f"You cannot {walk}: there is no way to it."
                continue
            if state == "closed":
                self.refused[walk] = f"You cannot {walk}: it is closed. Toggle it first."
            elif carried is None or carried.type != "key":
                self.refused[toggle] = f"You cannot {toggle}: you carry no key."
                continue
            elif carried.color != color:
                self.refused[toggle] = f"You cannot {toggle}: your key has another color."
                continue
            if sight.cell not in facing:
                self.refused[toggle] = f"You cannot {toggle}: there is no way to it."
                continue
            can[toggle] = [*facing[sight.cell], TOGGLE, FORWARD]
            self._actions_of[TOGGLE, sight.cell] = toggle
            if not facing[sight.cell]:
                can["toggle"] = [TOGGLE]

    def _all_sights(self) -> list[Sight]:
        """Return what is in view, walls too, from near to far, and else from far left."""
        size = len(self._image)
        x, y, direction = self.pose
        (ax, ay), (rx, ry) = AHEAD[direction], AHEAD[(direction + 1) % 4]
        sights = []
        for ahead in range(size - 1, -1, -1):
            for right in range(-(size // 2), size // 2 + 1):
                cell = (x + ahead * ax + right * rx, y + ahead * ay + right * ry)
                kind, color, state = map(int, self._image[right + size // 2, size - 1 - ahead])
                if kind in KINDS and min(cell) >= 0 and (ahead or right):
                    words = [COLORS[color], KINDS[kind]]
                    if KINDS[kind] == "door":
                        words.insert(1, STATES[state])
                    sights.append(Sight(KINDS[kind], " ".join(words), cell, ahead, right))
        return sorted(sights, key=lambda sight: sight.ahead + abs(sight.right))

    def _barrier(self) -> Sight | None:
        """Return the nearest wall or box straight ahead."""
        ahead = (s for s in self._sights if s.kind in BARRIERS and not s.right)
        return next(ahead, None)

    def _ways(self, sights: list[Sight]) -> tuple[dict[Cell, list[int]], dict[Cell, list[int]]]:
        """Return AgentGym's ways to where each cell is faced, and to where one stands on it.

        They lead through cells in view, one column beside it, and doors, also closed ones. They
        are not always the shortest: as long as a pose waits in the queue, whoever reaches it last
        becomes the pose before it.
        """
        solid = {sight.cell for sight in sights if sight.kind in SOLID}
        size = len(self._image)
        x, y, direction = start = self.pose
        (ax, ay), (rx, ry) = AHEAD[direction], AHEAD[(direction + 1) % 4]
        inside = [
            range(corner, corner + size) if towards > 0 else range(corner - size, corner + 1)
            for corner, towards in (
                (x + (size - 1) * ax - size // 2 * rx, rx - ax),
                (y + (size - 1) * ay - size // 2 * ry, ry - ay),
            )
        ]
        before: dict[Pose, tuple[Pose, int]] = {}
        left: set[Pose] = set()
        facing: dict[Cell, list[int]] = {}
        standing: dict[Cell, list[int]] = {}
        queue = [start]
        for pose in queue:  # grows while it is walked
            left.add(pose)
            px, py, turn = pose
            ahead = front(pose)
            if ahead not in facing or pose[:2] not in standing:
                way: list[int] = []
                at = pose
                while at != start:
                    at, step = before[at]
                    way.insert(0, step)
                facing.setdefault(ahead, way)
                standing.setdefault(pose[:2], way)
            for step, after in (
                (FORWARD, (*ahead, turn)),
                (LEFT, (px, py, (turn - 1) % 4)),
                (RIGHT, (px, py, (turn + 1) % 4)),
            ):
                within = after[0] in inside[0] and after[1] in inside[1]
                if within and after not in left and after[:2] not in solid:
                    queue.append(after)
                    before[after] = (pose, step)
        return facing, standing


def _task(number: int, split: str) -> contrail.Task:
    level, _ = start_of(number)
    return contrail.Task("babyai", task_id(number), number, split, difficulty(level))


def start_of(number: int) -> tuple[str, int]:
    """Return the level and the seed of AgentGym's task."""
    seed, level = divmod(number, len(AGENTGYM))
    return resolve(AGENTGYM[level]), seed
