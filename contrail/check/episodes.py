"""Checks of the environment's output: tasks, types, and the same episode for the same task."""

from __future__ import annotations

import math
from collections import Counter
from itertools import zip_longest

from contrail.check.other_process import ADVICE, walks_elsewhere
from contrail.check.subject import Failed, Moment, Subject, quoted, same
from contrail.environment import SPLITS, Task


def tasks(subject: Subject) -> str:
    """tasks(split) lists the tasks of "train" and "test", the same ones every time."""
    with subject.instance() as one, subject.instance() as other:
        for split in SPLITS:
            what = f"tasks({split!r})"
            with subject.during(what):
                listed, again = one.tasks(split), other.tasks(split)
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


def types(subject: Subject) -> str:
    """reset and step return contrail.Observation and contrail.Step, with fields of their types."""
    environment = subject.used
    if not isinstance(environment.system_prompt, str):
        raise Failed(f"system_prompt is {quoted(environment.system_prompt)}. Make it a text.")
    turns = environment.max_turns
    if type(turns) is not int or turns < 1:
        raise Failed(f"max_turns is {turns!r}. Make it a whole number above 0.")
    wanted = subject.sample(subject.count)
    for task in subject.in_time(wanted):
        subject.tasks.append(task)
        subject.walks.append(list(subject.walk(environment, task)))
        for moment in subject.walks[-1]:
            if moment.actions == [] and not moment.over:
                raise Failed(
                    f"task {task.id!r}, after {quoted(moment.action)}: the list of actions is "
                    "empty though the episode goes on. End it, or leave the list out (None)."
                )
    few = len(subject.tasks) < len(wanted)
    return f"{len(subject.tasks)} of {len(wanted)} tasks: they take long" if few else ""


def rewards(subject: Subject) -> None:
    """Rewards are finite numbers."""
    for task, walk in zip(subject.tasks, subject.walks, strict=True):
        for moment in walk:
            if not math.isfinite(moment.reward):
                raise Failed(
                    f"task {task.id!r}, {quoted(moment.action)}: the reward is "
                    f"{moment.reward!r}. Make it a finite number."
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
    """Whatever was played before, and even abandoned, reset begins the same episode."""
    with subject.instance() as other:
        # Backwards: state that lasts from the first episode would otherwise be the same both times.
        for task, first in reversed(list(zip(subject.tasks, subject.walks, strict=True))):
            for _ in zip(range(3), subject.walk(other, task), strict=False):
                pass
            again = list(subject.walk(other, task))
            same(first, again, task, "Let reset(task) set everything anew.")


def process(subject: Subject) -> None:
    """Another process, with another hash seed, lists the same tasks and plays the same episodes."""
    backwards = reversed(walks_elsewhere(subject, subject.tasks[::-1]))
    for task, first, second in zip(subject.tasks, subject.walks, backwards, strict=True):
        same(first, second, task, f"{ADVICE} Let reset(task) set everything anew.")


def _present(moments: tuple[Moment | None, ...]) -> list[Moment]:
    return [moment for moment in moments if moment is not None]
