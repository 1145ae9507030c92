"""The subject of the checks: the environment, some of its tasks, and walks through them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import TypeVar

from contrail.check.doing import Doing
from contrail.environment import SPLITS, Environment, Observation, Step, Task
from contrail.errors import Raised, boundary
from contrail.values import as_texts
from contrail.workers.factory import EnvironmentFactory

WALK = 8
"""The number of actions in a walk."""
SECONDS = 1.0
"""For each of the `count` tasks of a split, a check takes so long before it leaves tasks out."""
SHOWN = 120
"""The number of characters of a text that a message quotes."""


Item = TypeVar("Item")


class Failed(Exception):
    """A check's finding: what is wrong, and what to do."""


class Warned(Exception):
    """A check's warning: it may be intended, but the author should know of it."""


class Skipped(Exception):
    """Why a check does not apply."""


@dataclass(frozen=True)
class Moment:
    """The answer to one reset (`action` is None) or step, as JSON values."""

    action: str | None
    text: str
    actions: list[str] | None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: bool = False
    valid: bool = True

    @property
    def over(self) -> bool:
        """Whether the episode ended here."""
        return self.terminated or self.truncated


@dataclass
class Subject:
    """An environment under check.

    Attributes:
        make: makes instances of it.
        count: at most so many tasks of each split are played: of slow ones fewer, but one.
        listed: all tasks, by split, once `tasks` has been checked.
        tasks: those that are played, once `types` has been checked.
        walks: a walk through each of `tasks`, by their places, once `types` has been checked.
        starts: what the tasks that were reset so far start with.
        resets: the seconds of every reset so far.
        steps: the seconds of every step so far.
        doing: where the call under way is noted, if anybody reads it.
    """

    make: EnvironmentFactory
    count: int = 3
    listed: dict[str, list[Task]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    walks: list[list[Moment]] = field(default_factory=list)
    starts: dict[Task, Moment] = field(default_factory=dict)
    resets: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    doing: Doing | None = None
    _task: Task | None = None  # the one last reset

    def during(self, call: str) -> AbstractContextManager[None]:
        """Return a context manager around a call of the environment, such as "step('go')"."""
        if self.doing is None:
            return nullcontext()
        task = "" if self._task is None else f"task {self._task.id!r}, "
        return self.doing.during(f"{task}{call}")

    @contextmanager
    def instance(self) -> Iterator[Environment]:
        """A fresh instance, closed afterwards."""
        environment = self.make.here()
        try:
            yield environment
        finally:
            environment.close()

    @cached_property
    def used(self) -> Environment:
        """The instance that checks share which need no fresh one: some take seconds to make."""
        return self.make.here()

    def close(self) -> None:
        """Close the shared instance, if there is one."""
        if "used" in vars(self):
            vars(self).pop("used").close()

    def sample(self, count: int) -> list[Task]:
        """So many tasks of each split, evenly spread over it; the splits take turns."""
        chosen = []
        for split in SPLITS:
            tasks = self.listed[split]
            some = min(count, len(tasks))
            chosen.append([tasks[index * len(tasks) // some] for index in range(some)])
        return [task for turn in zip_longest(*chosen) for task in turn if task is not None]

    def in_time(self, items: Iterable[Item], least: int = len(SPLITS)) -> Iterator[Item]:
        """Yield the first items, and further ones while there is time: a reset may take seconds."""
        end = time.monotonic() + SECONDS * self.count
        for place, item in enumerate(items):
            if place >= least and time.monotonic() > end:
                return
            yield item

    def expert_plan(self, environment: Environment, task: Task) -> Sequence[str]:
        """Return the expert's actions, or none; what is wrong with them is for `expert` to find."""
        try:
            with boundary(), self.during(f"expert({task.id!r})"):
                plan = environment.expert(task)
                return () if plan is None else as_texts(plan, "expert()")
        except Raised:
            return ()

    def reset(self, environment: Environment, task: Task) -> Moment:
        """Begin a task, with the time taken."""
        self._task = task
        begun = time.perf_counter()
        with self.during("reset"):
            observation = environment.reset(task)
        self.resets.append(time.perf_counter() - begun)
        moment = Moment(None, *_observed(f"reset({task.id!r})", observation))
        self.starts.setdefault(task, moment)
        return moment

    def step(self, environment: Environment, action: str) -> Moment:
        """Carry out an action, with the time taken."""
        begun = time.perf_counter()
        what = f"step({quoted(action)})"
        with self.during(what):
            step = environment.step(action)
        self.steps.append(time.perf_counter() - begun)
        if not isinstance(step, Step):
            raise Failed(f"{what} returned {quoted(step)}. Return a contrail.Step.")
        flags = (step.terminated, step.truncated, step.success, step.valid)
        return Moment(action, *_observed(what, step.observation), step.reward, *flags)

    def walk(
        self, environment: Environment, task: Task, key: str | None = None, turns: int = WALK
    ) -> Iterator[Moment]:
        """Yield the reset and some actions, chosen by nothing but the key and what is seen.

        The key is the task's id by default. With one key, tasks that look alike are played alike.
        """
        rng = random.Random(task.id if key is None else key)
        moment = self.reset(environment, task)
        yield moment
        for _ in range(turns):
            # Without a list, words that the environment itself uses come nearest to sense.
            moment = self.step(
                environment, rng.choice(moment.actions or moment.text.split() or [""])
            )
            yield moment
            if moment.over:
                return


def same(first: list[Moment], second: list[Moment], task: Task, advice: str) -> None:
    """Refuse two walks through a task that differ.

    Raises:
        Failed: says where, and gives the advice.
    """
    for turn, (one, other) in enumerate(zip(first, second, strict=False)):
        for name, value in asdict(one).items():
            if value != getattr(other, name):
                raise Failed(
                    f"task {task.id!r}, turn {turn}: {name} is {quoted(value)} and then "
                    f"{quoted(getattr(other, name))}. {advice}"
                )
    if len(first) != len(second):
        raise Failed(f"task {task.id!r}: {len(first)} turns and then {len(second)}. {advice}")


def quoted(value: object) -> str:
    """Return a value for a message, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def _observed(what: str, observation: object) -> tuple[str, list[str] | None]:
    """Text and actions of an observation.

    Raises:
        Failed: it is none.
    """
    if not isinstance(observation, Observation):
        raise Failed(f"{what} gave {quoted(observation)}. Give a contrail.Observation.")
    actions = observation.actions
    return observation.text, None if actions is None else list(actions)
