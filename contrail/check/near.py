"""Check of near leaks: test tasks that resemble training tasks without being the same.

Resemblance is not a fault: a small world contains many similar tasks. The author should know of it,
so it is a warning with numbers and an example.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from contrail.check.subject import Subject, Warned, quoted
from contrail.environment import Task

COMPARED = 500  # tasks of each split; of slow environments as many as there is time for
ALIKE = 0.8  # of the weight of the words of two goals together, that of those which both have
FEW = 3  # words; shorter goals are the same or are not
COMMON = 0.5  # actions that more than this share of plans ends in tell no goals apart
GOAL = re.compile(
    r"\b(?:your )?(?:goal|task|question|instruction|mission|objective)s?\b(?: is(?: to)?)?\s*:?\s*"
    r"(?:\[SEP\])?\s*(.+?)\s*(?:\.\s|\[SEP\]|\n|$)",
    re.IGNORECASE,
)

Texts = Mapping[Task, str]
Found = dict[Task, Task]
"""Tested tasks, each with a training task that it resembles."""


def leaks(subject: Subject) -> str:
    """Tests do not resemble training: in starts, goals, and what the expert does."""
    starts, plans = _seen(subject)
    tasks = {split: [t for t in starts if t.split == split] for split in ("train", "test")}
    plain = {
        task: " ".join(re.sub(r"\d+", "#", text.lower()).split()) for task, text in starts.items()
    }
    goals = {task: _plain(goal) for task, text in starts.items() if (goal := _goal(text))}
    alike = _equal(plain) if len(set(plain.values())) > 1 else {}
    same = _equal(goals) if len(set(goals.values())) > 1 else {}
    near = {} if len(set(goals.values())) < 2 else _near(goals, same)
    played = _equal({task: repr(plan) for task, plan in plans.items()})
    tails = _equal({task: repr(plan[1:]) for task, plan in plans.items() if len(plan) > 2})
    tails = {task: other for task, other in tails.items() if task not in played}
    kinds: tuple[tuple[str, Found, Callable[[Task], str]], ...] = (
        ("start as a training task does, numbers aside", alike, lambda task: starts[task]),
        ("have the goal of a training task", same, lambda task: goals[task]),
        ("have nearly the goal of a training task", near, lambda task: goals[task]),
        ("are solved by the expert's actions of a training task", played, lambda t: str(plans[t])),
        (
            "are solved by a training task's actions but for the first",
            tails,
            lambda t: str(plans[t]),
        ),
        ("end in what is a step of a training task", _steps(plans), lambda t: plans[t][-1]),
    )
    compared = f"{len(tasks['test'])} tested, {len(tasks['train'])} trained"
    compared = f"of {compared} tasks compared"
    notes = [
        f"{len(found)} of the tested {what}, such as {one.id!r} ({found[one].id!r}): "
        f"{quoted(shown(one))}"
        for what, found, shown in kinds
        if found
        for one in [next(iter(found))]
    ]
    if notes:
        raise Warned(
            f"{compared}, " + "; ".join(notes) + ". Where it is not meant so, split by what they "
            "have in common, as a family."
        )
    return compared


def _seen(subject: Subject) -> tuple[dict[Task, str], dict[Task, Sequence[str]]]:
    """Return the texts of starts and the expert's plans, of as many tasks as the time allows."""
    environment = subject.used
    starts: dict[Task, str] = {}
    for task in subject.in_time(subject.sample(COMPARED)):
        known = subject.starts.get(task)
        starts[task] = (known or subject.reset(environment, task)).text
    plans: dict[Task, Sequence[str]] = {}
    for task in subject.in_time(starts, least=1):
        plan = subject.expert_plan(environment, task)
        if plan:
            plans[task] = plan
    return starts, plans


def _equal(texts: Texts) -> Found:
    """The tested tasks whose text is that of a training task."""
    trained: dict[str, Task] = {}
    for task, text in texts.items():
        if task.split == "train":
            trained.setdefault(text, task)
    return {
        task: trained[text]
        for task, text in texts.items()
        if task.split == "test" and text in trained
    }


def _near(goals: Texts, same: Iterable[Task]) -> Found:
    """Return the test tasks whose goal has nearly the words of a training task's goal.

    A word's weight is its information: large for a word of few goals, zero for a word of all goals.
    So goals of the same form that name other things are not alike.
    """
    words = {task: frozenset(goal.split()) for task, goal in goals.items()}
    times = Counter(word for its in words.values() for word in its)
    weights = {word: math.log(len(goals) / number) for word, number in times.items()}
    holding: dict[str, list[Task]] = defaultdict(list)
    for task, its in words.items():
        if task.split == "train":
            for word in its:
                holding[word].append(task)
    total = {task: sum(weights[word] for word in sorted(its)) for task, its in words.items()}
    found: Found = {}
    known = set(same)
    for task, its in words.items():
        if task.split == "train" or task in known or len(its) < FEW:
            continue
        shared: dict[Task, float] = defaultdict(float)
        for word in sorted(its, key=lambda word: (-weights[word], word)):
            for other in holding[word]:
                shared[other] += weights[word]
        best = max(shared, key=lambda other: _share(shared, other, task, total), default=None)
        if best is not None and _share(shared, best, task, total) >= ALIKE:
            found[task] = best
    return found


def _share(
    shared: Mapping[Task, float], other: Task, task: Task, total: Mapping[Task, float]
) -> float:
    """Of the weight of two goals' words together, that of the words which both have."""
    together = total[task] + total[other] - shared[other]
    return shared[other] / together if together else 0.0


def _steps(plans: Mapping[Task, Sequence[str]]) -> Found:
    """The tested tasks whose plan ends in an action that a training plan has on its way.

    Last actions that most plans have, such as a purchase, are no goal.
    """
    ends = Counter(plan[-1] for plan in plans.values())
    passed: dict[str, Task] = {}
    for task, plan in plans.items():
        if task.split == "train":
            for action in plan[:-1]:
                passed.setdefault(action, task)
    return {
        task: passed[plan[-1]]
        for task, plan in plans.items()
        if task.split == "test" and plan[-1] in passed and ends[plan[-1]] <= COMMON * len(plans)
    }


def _goal(text: str) -> str:
    match = GOAL.search(text)
    return match[1] if match else ""


def _plain(text: str) -> str:
    """Without capitals, marks and spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
