"""ScienceWorld: elementary science in a text simulator (arXiv:2203.07540)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
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
from contrail.envs.sciworld.effects import Effect
from contrail.envs.sciworld.tasks import KINDS, check
from contrail.envs.shared.java import Java, require

LONGEST_ACTION = 300
WAIT = "wait1"  # time passes
LOOK = "look around"  # no time passes
GLANCE = "look at "  # half the time of WAIT passes
UNKNOWN = "No known action matches that input."
REFUSALS = (UNKNOWN, "Unknown action.")
# An ambiguous action is answered with "Ambiguous request: …" and numbered readings to choose from.
READING = re.compile(r"^(\d+):\t", re.MULTILINE)
# Things print as "ObjectID (17, name: …".
BETWEEN = "\x1f"
THING = re.compile(rf"(?:^|{BETWEEN})ObjectID \((\d+),")


@dataclass
class SciWorldConfig:
    """The keys of sciworld in stream.yaml."""

    tasks: list[str] = field(default_factory=lambda: list(KINDS))
    """The names of ScienceWorld tasks; by default, all 30."""
    simplifications: list[str] = field(default_factory=lambda: ["easy"])
    """ScienceWorld's simplifications: teleportAction, selfWateringFlowerPots, openContainers,
    openDoors, noElectricalAction, or "easy" for all that the task allows."""
    test_part: str = "test"
    """The part of ScienceWorld's variations to test on: "test" or "dev"."""
    variations: int | None = field(default=None, metadata={"min": 1})
    """The number of variations per task and split, the first ones; null for all."""
    actions: bool = True
    """List the admissible actions, some 100 to 400. Listing them takes longer than the step itself;
    `adapter: choose` needs them."""
    like: Literal["agentgym"] | None = None
    """Follow the rules of another framework where they differ: "agentgym"."""
    test_ids: str = field(default="", metadata={"path": ()})
    """With `like: agentgym`, AgentGym's file of the tasks to test on (AgentEval's
    sciworld_test.json). By default, ScienceWorld's own split."""


Listed = dict[str, tuple[int, frozenset[int]]]
"""Actions with the number of their template and the ids of the things that they name."""


class SciWorld(Environment):
    """A task of ScienceWorld. The reward is the rise of the score, 0 to 100, divided by 100.

    So the rewards of an episode add up to its final score / 100; the few points with which some
    tasks start come with the first action. A wrong decision ends the episode with a score of 0
    (ScienceWorld says -100) and takes back earlier rewards. The task is solved at a score of 100. A
    task's id is "<task>/<variation>".
    """

    Config = SciWorldConfig
    system_prompt = (
        "You are in a simulated world and have a task of elementary science. Give one action a "
        "turn: open X, close X, activate X, deactivate X, connect X to Y, disconnect X, use X on "
        "Y, look around, look at X, look in X, read X, move X to Y, pick up X, put down X, pour X "
        "into Y, dunk X into Y, mix X, go to X, teleport to X, eat X, flush X, focus on X, wait, "
        "wait1, inventory, task. Focus only on what the task names."
    )
    max_turns = 30
    forms: tuple[str, ...] = (
        *("open {X}", "close {X}", "activate {X}", "deactivate {X}", "connect {X to Y}"),
        *("disconnect {X}", "use {X on Y}", "look around", "look at {X}", "look in {X}"),
        *("read {X}", "move {X to Y}", "pick up {X}", "put down {X}", "pour {X into Y}"),
        *("dunk {X into Y}", "mix {X}", "go to {X}", "teleport to {X}", "eat {X}", "flush {X}"),
        *("focus on {X}", "wait", "wait1", "inventory", "task", "reset task"),
    )
    mentions = r"(?<=:\t).+"  # the readings of an ambiguous action
    finishing = (r"focus on .*",)
    verifying = (r"(look at|look in|examine|read) .*",)
    idle = (r"wait\d*",)
    workers = 2  # each with a Java machine of some 700 MB
    about_data = "ScienceWorld's own 30 tasks and 7,207 variations"

    @classmethod
    def catalogue(cls) -> Iterator[tuple[dict[str, Any], str]]:
        for name, kind in KINDS.items():
            yield {"tasks": [name]}, f"A task of ScienceWorld, {kind.difficulty}."

    worst = 0
    """The score after a wrong decision."""
    points = 100
    """The points of the score that are a reward of 1."""

    def __new__(
        cls, config: SciWorldConfig | None = None, *others: object, **named: object
    ) -> SciWorld:
        """Return an environment of the rules that the settings name; a subclass has its own."""
        if cls is SciWorld and config is not None and config.like == "agentgym":
            from contrail.envs.sciworld.agentgym import AgentGymSciWorld as cls
        return super().__new__(cls)

    def __init__(self, config: SciWorldConfig | None = None) -> None:
        super().__init__(config)
        # Missing packages and a missing Java are reported now; the machine is started to play.
        import py4j.java_gateway  # noqa: F401
        from scienceworld.constants import JAR_PATH

        require("sciworld")
        check(self.config)
        self._start = partial(Java, "sciworld", JAR_PATH, heap=768)
        self._java: Java | None = None
        self._world: Any = None
        self._collect: Any = None
        self._task: Task | None = None
        self._done: list[str] = []
        self._score = 0
        self._over = False
        self._readings: list[str] = []
        self._shown: list[str] = []  # the actions listed last
        self._names: dict[int, str] = {}  # of the simulator's actions, by template

    def tasks(self, split: str) -> list[Task]:
        """ScienceWorld's own split by variations."""
        if split not in SPLITS:
            raise ConfigError(f"sciworld has no split {split!r}. {nearest(split, SPLITS)}")
        part = "train" if split == "train" else self.config.test_part
        hard = ("medium", "hard") if self.max_turns <= 30 else ("hard",)
        long = [name for name in self.config.tasks if KINDS[name].difficulty in hard]
        if long and self.max_turns <= 60:
            self.notes = [
                f"ScienceWorld's own solutions of {', '.join(long)} may take more than max_turns "
                f"({self.max_turns}); raise it, or leave them out of tasks"
            ]
        return [
            Task("sciworld", f"{name}/{number}", number, split, kind.difficulty)
            for name, kind in KINDS.items()
            if name in self.config.tasks
            for number in kind.variations(part)[: self.config.variations]
        ]

    def reset(self, task: Task) -> Observation:
        self._task = None
        text = self._load(task)
        self._task, self._done = task, []
        self._score, self._over, self._readings, self._shown = 0, False, [], []
        goal = str(self._world.getTaskDescription()).strip()
        return self._observe(f"{goal}\n\n{text}")

    def step(self, action: str) -> Step:
        if self._task is None:
            raise RuntimeError("sciworld: reset(task) comes before step(action).")
        if self._over:
            over = Observation("The episode is over.", [])
            return Step(over, terminated=True, success=self._score == 100, valid=False)
        wish = " ".join(read_action(action, self._shown)[: LONGEST_ACTION + 1].split())
        # Text that cannot be a command is not sent: it might not get through.
        if len(wish) > LONGEST_ACTION or not wish.isascii() or not wish.isprintable():
            info = {"score": max(0, self._score) / 100}
            return Step(self._observe(UNKNOWN), valid=False, info=info)
        try:
            return self._played(wish)
        except Exception:
            self.close()  # whatever has become of the machine: the next reset starts another
            raise

    def expert(self, task: Task) -> list[str] | None:
        """Return ScienceWorld's gold path in listed actions, up to the end of the task.

        It may be longer than `max_turns`. None if there is none, or not in listed actions.
        """
        self._load(task, gold=True)
        gold = [str(action) for action in self._world.getGoldActionSequence()]
        path: list[str] = []
        solved = False
        # Most of what is not listed has no effect, such as opening what is open. Or it has no words
        # in this turn's list, but in another's. Or the time matters that it takes.
        for instead, tries in (("", 0), (LOOK, 4), (GLANCE, 1), (WAIT, 1)):
            if gold and not gold[0].startswith("ERROR") and not solved:
                self._load(task)
                path = self._listed(gold, instead, tries)
                solved = self._world.getScore() == 1
        if self._task is not None:
            # The episode under way continues from its state.
            self._load(self._task)
            for action in self._done:
                self._world.step(action)
        return path if solved else None

    def _played(self, wish: str) -> Step:
        self._done.append(wish)
        text = str(self._world.step(wish)).strip()
        score = round(100 * self._world.getScore())
        self._over = self._ended() or score < 0
        score = max(self.worst, score)
        reward, self._score = (score - self._score) / self.points, score
        self._readings = READING.findall(text)
        return Step(
            self._observe(text),
            reward,
            terminated=self._over,
            success=score == 100,
            valid=not text.startswith(REFUSALS),
            info={"score": max(0, score) / 100},
        )

    def _listed(self, gold: list[str], instead: str, tries: int) -> list[str]:
        """Play a gold path in the words of the listed actions, until the task is completed.

        The simulator draws the words of its list anew each time. So it is asked for the list once
        a turn, as in an episode; then the lists are the same.

        Args:
            gold: the path.
            instead: what to do for an action that is not listed in any words; "" for nothing.
            tries: how often. The list has other words after each.
        """
        path: list[str] = []
        listed = self._admissible()
        rest = iter(gold)
        for action in rest:
            if self._world.getCompleted():
                break
            readings = self._readings_of(action)
            if len(readings) > 1:  # the path goes on with the number of the one that is meant
                number = next(rest, "")
                place = int(number) if number.isdecimal() else 0
                readings = readings[place : place + 1]
            same = self._same(action, readings, listed)
            for _ in range(0 if same else tries):
                said = next((each for each in listed if each.startswith(instead)), WAIT)
                path.append(said)
                self._world.step(said)
                listed = self._admissible()
                if same := self._same(action, readings, listed):
                    break
            for said in same:
                path.append(said)
                self._world.step(said)
            if same:
                listed = self._admissible()
        return path

    def _same(self, action: str, readings: list[Effect], listed: Listed) -> list[str]:
        """Return the listed actions with an action's effect; none, if there is none.

        That is one action, or, if it can be read in several ways, the action and the number of the
        reading.

        Args:
            action: the words of the gold path.
            readings: how the parser understands it; at most one.
            listed: the listed actions.
        """
        if not readings:
            return [action] if action in listed else []
        wanted = readings[0]
        ambiguous: list[str] = []
        # An action with the same effect names the same things, but for those that go without
        # saying, such as the inventory when something is picked up.
        likely = [said for said, (_, things) in listed.items() if things <= wanted.things]
        for said in sorted(likely, key=lambda said: (said != action, -len(listed[said][1]))):
            template = listed[said][0]
            # Parsing is slow; all actions of one template do the same.
            if self._names.get(template, wanted.name) != wanted.name:
                continue
            effects = self._readings_of(said)
            if effects:
                self._names[template] = effects[0].name
            if effects == [wanted]:
                return [said]
            if wanted in effects and not ambiguous:
                ambiguous = [said, f"{effects.index(wanted)}"]
        return ambiguous

    def _readings_of(self, action: str) -> list[Effect]:
        """Return how the simulator's parser understands an action now: in no way, one or several.

        It changes nothing in the world.
        """
        interface = self._world.agentInterface().get()
        parser, agent = interface.inputParser(), interface.agent()
        visible = interface.getAgentVisibleObjects(True).productElement(1)
        sequence = interface.task().goalSequence()
        room = agent.getContainer().get()
        monitor = interface.objMonitor()
        parsed = parser.parse(action, visible, interface.universe(), agent, monitor, sequence, room)
        matches = parser.lastAmbiguousMatches()
        if matches.isDefined():
            readings = [
                Effect.of(match.actionRequestDef().get().name(), match.varLUT())
                for match in matches.get()
            ]
            parser.clearAmbiguousState()
            return readings
        if not parsed.productElement(3).isDefined():
            return []
        done = parsed.productElement(3).get()
        return [Effect.of(done.action().name(), done.assignments())]

    def close(self) -> None:
        self._task = self._world = self._collect = None
        java, self._java = self._java, None
        if java is not None:
            java.close()

    def game(self, task: Task) -> str:
        name, number = self._start_of(task)
        return f"{name}/{number}"

    def _start_of(self, task: Task) -> tuple[str, int]:
        """Return the name of a ScienceWorld task and the number of the variation."""
        name, _, number = task.id.partition("/")
        if name not in KINDS or not number.isdecimal() or int(number) >= KINDS[name].all:
            raise ValueError(f"sciworld has no task {task.id!r}; tasks() lists them.")
        return name, int(number)

    def _ended(self) -> bool:
        return bool(self._world.getCompleted())

    def _load(self, task: Task, gold: bool = False) -> str:
        """Start a task in the simulator; return the first observation."""
        name, number = self._start_of(task)
        if self._java is None or not self._java.alive:
            self._java = self._start()
            simulator = self._java.jvm.scienceworld
            self._world = simulator.runtime.pythonapi.PythonInterface()
            self._collect = simulator.input.InputParser.collectAccessibleObjects
        self._world.load(name, number, ",".join(self.config.simplifications), gold)
        self._world.reset()
        return str(self._world.step("look around")).strip()

    def _observe(self, text: str) -> Observation:
        if not self.config.actions:
            return Observation(text)
        if self._over:
            return Observation(text, [])
        if self._readings:
            return Observation(text, list(self._readings))
        self._shown = [*self._admissible()]
        return Observation(text, list(self._shown))

    def _admissible(self) -> Listed:
        """Return the listed actions that are accepted.

        ScienceWorld's list also names things out of sight, bees in a closed hive or the sewer,
        which its parser then does not find.
        """
        near = self._near()
        found = {
            each["action"]: (int(each["template_id"]), frozenset(map(int, each["obj_ids"])))
            for each in self._said()
            if near.issuperset(each["obj_ids"]) or each["action"].startswith("teleport to ")
        }
        return dict(sorted(found.items()))

    def _said(self) -> list[dict[str, Any]]:
        """Return ScienceWorld's list: `action`, its effect (`template_id`) and its objects."""
        listed = json.loads(self._world.getValidActionObjectCombinationsJSON())
        said: list[dict[str, Any]] = listed["validActions"]
        return said

    def _near(self) -> set[int]:
        """Return the ids of the things among which the parser looks: in the room, and carried."""
        agent = self._world.agent().get()
        ids: set[int] = set()
        for holder in (agent.getContainer().get(), agent):
            # One call for all things: one for each takes longer than the step.
            things = str(self._collect(holder, True).mkString(BETWEEN))
            ids.update(map(int, THING.findall(things)))
        return ids


@hookimpl
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register sciworld."""
    register("sciworld", SciWorld)
