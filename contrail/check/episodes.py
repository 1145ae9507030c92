"""Checks of what the environment says: tasks, types, and the same episode for the same task."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import zip_longest

from contrail.check.other_process import walks_elsewhere
from contrail.check.subject import Failed, Moment, Subject, quoted, same
from contrail.environment import SPLITS, Task

ADVICE = "Take all randomness from random.Random(task.seed), and sort what comes out of sets."


def tasks(subject: Subject) -> str:
    """tasks(split) lists the tasks of "train" and "test", the same ones every time."""
    with subject.instance() as one, subject.instance() as other:
        for split in SPLITS:
            listed, again = one.tasks(split), other.tasks(split)
            what = f"tasks({split!r})"
            if not isinstance(listed, list) or not all(isinstance(task, Task) for task in listed):
                raise Failed(f"{what} returned {quoted(listed)}. Return a list of contrail.Task.")
            if not listed:
                raise Failed(f"{what} is empty. There must be tasks to train and to test on.")
            wrong = next((task for task in listed if task.split != split), None)
            if wrong is not None:
                raise Failed(f"{what} holds {wrong.id!r}, whose split is {wrong.split!r}.")
            if listed != again:
                raise Failed(f"{what} differs from instance to instance. {ADVICE}")
            repeated = [name for name, n in Counter(task.id for task in listed).items() if n > 1]
            if repeated:
                raise Failed(f"{what}: several have the id {repeated[0]!r}. Give each its own.")
            subject.listed[split] = listed
    return ", ".join(f"{len(subject.listed[split])} {split}" for split in SPLITS)


def types(subject: Subject) -> None:
    """reset and step return contrail.Observation and contrail.Step, with fields of their types."""
    environment = subject.used
    if not isinstance(environment.system_prompt, str):
        raise Failed(f"system_prompt is {quoted(environment.system_prompt)}. Make it a text.")
    turns = environment.max_turns
    if type(turns) is not int or turns < 1:
        raise Failed(f"max_turns is {turns!r}. Make it a whole number above 0.")
    for task in subject.tasks:
        subject.walks.append(list(subject.walk(environment, task)))
        for moment in subject.walks[-1]:
            if moment.actions == [] and not moment.over:
                raise Failed(
                    f"task {task.id!r}, after {quoted(moment.action)}: the list of actions is "
                    "empty though the episode goes on. End it, or leave the list out (None)."
                )


def rewards(subject: Subject) -> None:
    """Rewards are finite numbers that JSON can hold."""
    for task, walk in zip(subject.tasks, subject.walks, strict=True):
        for moment in walk:
            try:
                json.dumps(moment.reward)
                finite = math.isfinite(moment.reward)
            except (TypeError, ValueError):
                finite = False
            if not finite:
                raise Failed(
                    f"task {task.id!r}, {quoted(moment.action)}: the reward is "
                    f"{moment.reward!r}. Make it a finite number: float(…)."
                )


def splits(subject: Subject) -> None:
    """No task stands in both splits."""
    seen = {(task.id, task.seed) for task in subject.listed["train"]}
    shared = [task.id for task in subject.listed["test"] if (task.id, task.seed) in seen]
    if shared:
        raise Failed(
            f"{shared[0]!r}{_more(shared)} stands in both: what is tested would have been trained "
            "on. Divide the start states, for example by a hash."
        )


def group(subject: Subject) -> None:
    """Instances side by side play one task alike, as the members of a group do."""
    with subject.instance() as one, subject.instance() as other:
        for task in subject.tasks:
            pairs = zip_longest(subject.walk(one, task), subject.walk(other, task))
            first, second = zip(*pairs, strict=True)
            advice = f"{ADVICE} Keep state in self, not in the class or the module."
            same(_present(first), _present(second), task, advice)


def abandoned(subject: Subject) -> None:
    """After an abandoned episode, reset begins the same episode as ever."""
    played = subject.tasks
    used = subject.used
    for place, task in enumerate(played):
        for other in (played[place - 1], task):
            for _ in zip(range(3), subject.walk(used, other), strict=False):
                pass
        again = list(subject.walk(used, task))
        same(subject.walks[place], again, task, "Let reset(task) set everything anew.")


def process(subject: Subject) -> None:
    """Another process, with another hash seed, plays the same episodes."""
    elsewhere = walks_elsewhere(subject, subject.tasks)
    for task, first, second in zip(subject.tasks, subject.walks, elsewhere, strict=True):
        same(first, second, task, ADVICE)


def _present(moments: tuple[Moment | None, ...]) -> list[Moment]:
    return [moment for moment in moments if moment is not None]


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
