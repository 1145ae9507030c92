"""Corridors: one keeps the contract of an environment, each of the others breaks it in one way."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from typing import Any

import numpy

from contrail import Environment, Observation, Step, Task

WAYS = ["left", "right"]


class Corridor(Environment):
    """Walk to a door some steps to the left or right. It keeps the contract."""

    max_turns = 6

    def tasks(self, split: str) -> list[Task]:
        seeds = range(4) if split == "train" else range(4, 7)
        return [Task("corridor", f"{split}-{seed}", seed, split) for seed in seeds]

    def reset(self, task: Task) -> Observation:
        self.place = random.Random(task.seed).choice([-3, -2, 2, 3])
        return self.look()

    def look(self) -> Observation:
        return Observation(f"The door is at {self.place}.", WAYS)

    def step(self, action: str) -> Step:
        if action not in WAYS:
            return Step(Observation("That is no way.", WAYS), valid=False)
        self.place += 1 if action == "left" else -1
        found = self.place == 0
        return Step(self.look(), reward=float(found), terminated=found, success=found)

    def expert(self, task: Task) -> list[str]:
        place = random.Random(task.seed).choice([-3, -2, 2, 3])
        return ["left" if place < 0 else "right"] * abs(place)


class NoTasks(Corridor):
    def tasks(self, split: str) -> list[Task]:
        return super().tasks(split) if split == "train" else []


class OneId(Corridor):
    def tasks(self, split: str) -> list[Task]:
        return super().tasks(split)[:1] * 2


class OtherTasks(Corridor):
    """The tasks hang on the instance."""

    made = 0

    def tasks(self, split: str) -> list[Task]:
        OtherTasks.made += 1
        return super().tasks(split)[OtherTasks.made % 2 :]


class TextOnly(Corridor):
    def reset(self, task: Task) -> Observation:
        return super().reset(task).text  # type: ignore[return-value]


class TextFlag(Corridor):
    def step(self, action: str) -> Step:
        step = super().step(action)
        found: Any = "yes" if step.success else "no"
        return Step(step.observation, step.reward, found, success=step.success, valid=step.valid)


class DeadEnd(Corridor):
    def look(self) -> Observation:
        return Observation("Nowhere to go.", [])


class Raises(Corridor):
    def reset(self, task: Task) -> Observation:
        raise KeyError("door")


class NotANumber(Corridor):
    def step(self, action: str) -> Step:
        return Step(super().step(action).observation, reward=float("nan"))


class TextReward(Corridor):
    def step(self, action: str) -> Step:
        reward: Any = "1"
        return Step(super().step(action).observation, reward=reward)


class SharedTask(Corridor):
    def tasks(self, split: str) -> list[Task]:
        return [*super().tasks(split), Task("corridor", "both", 9, split)]


class SameSeeds(Corridor):
    """Both splits are made of the same seeds, under other names; only the expert shows it."""

    def tasks(self, split: str) -> list[Task]:
        return [Task("corridor", f"{split}-{seed}", seed, split) for seed in range(6)]

    def reset(self, task: Task) -> Observation:
        self.place = task.seed - 6
        return self.look()

    def look(self) -> Observation:
        return Observation("A corridor.", WAYS)

    def expert(self, task: Task) -> list[str]:
        return ["left"] * (6 - task.seed)


class SameWords(SameSeeds):
    """The training tasks are tested again, under other seeds, and there is no expert."""

    def tasks(self, split: str) -> list[Task]:
        other = 100 * (split == "test")
        return [Task("corridor", f"{split}-{n}", n + other, split) for n in range(6)]

    def reset(self, task: Task) -> Observation:
        self.place = task.seed % 100 - 6
        return Observation(f"The door is at {self.place}.", WAYS)

    def expert(self, task: Task) -> None:  # type: ignore[override]
        return None


class OneGame(Corridor):
    def reset(self, task: Task) -> Observation:
        self.place = 2
        return self.look()

    def expert(self, task: Task) -> list[str]:
        return ["right"] * 2


class FirstColour(Corridor):
    """What the first episode was like, all others are."""

    colour = ""

    def reset(self, task: Task) -> Observation:
        self.colour = self.colour or ("red" if task.split == "train" else "blue")
        return super().reset(task)

    def look(self) -> Observation:
        return Observation(f"A {self.colour} door.", WAYS)


class SharedState(Corridor):
    """The place is kept in the class, so that two instances walk on each other's toes."""

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(SharedState, name, value)


class Leftover(Corridor):
    """What was done in the last episode still counts."""

    steps = 0

    def step(self, action: str) -> Step:
        self.steps += 1
        return super().step(action)

    def look(self) -> Observation:
        return Observation(f"The door is at {self.place}; {self.steps} steps.", WAYS)


class HashOrder(Corridor):
    """The observation hangs on the order of a set of texts."""

    def look(self) -> Observation:
        return Observation(f"{super().look().text} Seen: {set(map(str, range(50)))}.", WAYS)


class HashTasks(Corridor):
    """The order of the tasks hangs on the order of a set of texts."""

    def tasks(self, split: str) -> list[Task]:
        known = {task.id: task for task in super().tasks(split)}
        more = {f"{split}-{100 + n}" for n in range(10)}
        return [*known.values(), *(Task("corridor", name, 9, split) for name in more)]


class Refuses(Corridor):
    def look(self) -> Observation:
        return Observation(super().look().text, [*WAYS, "dig"])


class RaisesOnNonsense(Corridor):
    def step(self, action: str) -> Step:
        action.encode("ascii")
        return super().step(action)


class Echoes(Corridor):
    def step(self, action: str) -> Step:
        if action not in WAYS:
            return Step(Observation(f"What is {action}?", WAYS), valid=False)
        return super().step(action)


class Slow(Corridor):
    def step(self, action: str) -> Step:
        time.sleep(0.2 * (len(action) > 100_000))
        return super().step(action)


class AnyWordIsSuccess(Corridor):
    """A question with one try: an empty answer is none, and any word counts as right."""

    def step(self, action: str) -> Step:
        told = bool(action) and action not in WAYS
        step = super().step(action)
        over = step.terminated or not action or told
        return Step(
            step.observation, float(told) or step.reward, over, success=told or step.success
        )


class EndIsSuccess(Corridor):
    def reset(self, task: Task) -> Observation:
        self.turns = 0
        return super().reset(task)

    def step(self, action: str) -> Step:
        self.turns += 1
        step = super().step(action)
        if self.turns < self.max_turns:
            return step
        return Step(step.observation, 1.0, truncated=True, success=True, valid=step.valid)


class NoReward(Corridor):
    def step(self, action: str) -> Step:
        step = super().step(action)
        return Step(step.observation, 0.0, step.terminated, success=step.success, valid=step.valid)

    def expert(self, task: Task) -> None:  # type: ignore[override]
        return None


class GoesOn(Corridor):
    """Success does not end the episode, and the next step takes it back."""

    def step(self, action: str) -> Step:
        step = super().step(action)
        return Step(step.observation, step.reward, success=step.success, valid=step.valid)


class LosesItsWay(Corridor):
    def expert(self, task: Task) -> list[str]:
        return super().expert(task)[1:]


class SecretWay(Corridor):
    """The expert uses an action that is accepted, but not listed."""

    def look(self) -> Observation:
        return Observation(super().look().text, WAYS[:1])

    def step(self, action: str) -> Step:
        step = super().step(action)
        return step if step.valid else Step(self.look(), valid=False)


class SeedsTheWorld(Corridor):
    def reset(self, task: Task) -> Observation:
        random.seed(task.seed)
        return super().reset(task)


class DrawsFromNumpy(Corridor):
    def step(self, action: str) -> Step:
        numpy.random.random()  # noqa: NPY002 (that is the fault)
        return super().step(action)


class LeavesAThread(Corridor):
    stop = threading.Event()

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.thread = threading.Thread(target=self.stop.wait, name="lost", daemon=True)
        self.thread.start()


class LeavesAProcess(Corridor):
    started: list[subprocess.Popen[bytes]] = []  # noqa: RUF012

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.started.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))


class ClosesOnce(Corridor):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True


BROKEN: list[tuple[type[Environment], str, str]] = [
    (NoTasks, "tasks", "tasks('test') is empty"),
    (OneId, "tasks", "several have the id 'train-0'"),
    (OtherTasks, "tasks", "differs from instance to instance"),
    (TextOnly, "types", "Give a contrail.Observation"),
    (TextFlag, "types", "bool(…)"),
    (DeadEnd, "types", "the list of actions is empty"),
    (Raises, "types", "raised KeyError: 'door'"),
    (NotANumber, "rewards", "nan"),
    (TextReward, "types", "float(…)"),
    (SharedTask, "splits", "'both' stands in both"),
    (SameSeeds, "splits", "'test-0' is the same game as 'train-0'"),
    (SameWords, "splits", "5 more such pairs"),
    (OneGame, "splits", "all 7 tasks compared are one game"),
    (SharedState, "group", "Keep state in self"),
    (Leftover, "abandoned", "Let reset(task) set everything anew"),
    (FirstColour, "abandoned", "text is 'A red door.' and then 'A blue door.'"),
    (HashOrder, "process", "sort what comes out of sets"),
    (HashTasks, "process", "tasks('train') differs in another process"),
    (Refuses, "actions", "'dig' is listed, and refused: 'That is no way.'"),
    (RaisesOnNonsense, "nonsense", "UnicodeEncodeError"),
    (Echoes, "nonsense", "Do not repeat"),
    (Slow, "nonsense", "look at the first"),
    (EndIsSuccess, "success", "6 turns of nonsense"),
    (AnyWordIsSuccess, "success", "1 turns of nonsense"),
    (NoReward, "success", "Training follows the reward"),
    (GoesOn, "success", "end it with terminated=True where it is solved"),
    (LosesItsWay, "expert", "not solved, with a reward of 0"),
    (SecretWay, "expert", "which is not listed"),
    (SeedsTheWorld, "randomness", "reset changes the global state of random"),
    (DrawsFromNumpy, "randomness", "step changes the global state of numpy.random"),
    (LeavesAThread, "closing", "(lost)"),
    (LeavesAProcess, "closing", "process "),
    (ClosesOnce, "closing", "raised ValueError: closed already"),
]
