"""The check of near leaks: what is warned of, with numbers and an example, and what is not."""

from __future__ import annotations

from typing import ClassVar

import pytest

import contrail.check
from contrail import Environment, Observation, Step, Task
from contrail.check import near
from contrail.check.subject import Subject, Warned
from contrail.workers.factory import EnvironmentFactory

NAMES = ["ash", "beech", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan"]
NAMES += ["spruce", "teak", "willow", "yew"]


class Workshop(Environment):
    """Says a goal, and has a plan for it, by the task's place in lists of its class."""

    trained: ClassVar[list[tuple[str, list[str]]]] = [
        (f"Your goal: build a {name} table.", [f"take {name}", f"build {name} table"])
        for name in NAMES[:8]
    ]
    tested: ClassVar[list[tuple[str, list[str]]]] = [
        (f"Your goal: build a {name} table.", [f"take {name}", f"build {name} table"])
        for name in NAMES[8:]
    ]

    def tasks(self, split: str) -> list[Task]:
        listed = self.trained if split == "train" else self.tested
        return [Task("workshop", f"{split}-{n}", n, split) for n in range(len(listed))]

    def play_of(self, task: Task) -> tuple[str, list[str]]:
        return (self.trained if task.split == "train" else self.tested)[task.seed]

    def reset(self, task: Task) -> Observation:
        return Observation(self.play_of(task)[0])

    def step(self, action: str) -> Step:
        return Step(Observation("Done."), 1.0, terminated=True, success=True)

    def expert(self, task: Task) -> list[str]:
        return self.play_of(task)[1]


class OtherNumbers(Workshop):
    tested: ClassVar = [("YOUR goal:\n build a cedar table. 7", ["x"]), *Workshop.tested]
    trained: ClassVar = [("Your goal: build a cedar table. 12", ["y"]), *Workshop.trained[3:]]


class SameGoal(Workshop):
    tested: ClassVar = [
        ("A blue room. Your goal: build a Fir table!\nIt is warm.", ["x"]),
        *Workshop.tested,
    ]


class NearGoal(Workshop):
    trained: ClassVar = [("Your goal: polish two violins from Cremona.", ["y"]), *Workshop.trained]
    tested: ClassVar = [("Goal: from Cremona, polish two violins.", ["x"]), *Workshop.tested]


class SamePlan(Workshop):
    tested: ClassVar = [("A garden.", ["take elm", "build elm table"]), *Workshop.tested]


class SameEnd(Workshop):
    trained: ClassVar = [("A mill.", ["look", "saw teak", "sell teak"]), *Workshop.trained]
    tested: ClassVar = [("A pond.", ["wait", "saw teak", "sell teak"]), *Workshop.tested]


class IsAStep(Workshop):
    trained: ClassVar = [
        ("Your goal: build a yew chair.", ["take yew", "build yew leg", "build yew chair"]),
        *Workshop.trained,
    ]
    tested: ClassVar = [
        ("Your goal: build a yew leg.", ["take yew", "build yew leg"]),
        *Workshop.tested[:-1],
    ]


class SameLastAction(Workshop):
    """All plans end in a purchase, which is no goal; and one has it twice."""

    trained: ClassVar = [(text, [*plan, "buy"]) for text, plan in Workshop.trained]
    trained[0] = (trained[0][0], ["buy", *trained[0][1]])
    tested: ClassVar = [(text, [*plan, "buy"]) for text, plan in Workshop.tested]


class StartsAlike(Workshop):
    """What tells no task from another tells no leak."""

    trained: ClassVar = [("Guess.", [f"say {name}"]) for name in NAMES[:8]]
    tested: ClassVar = [("Guess.", [f"say {name}"]) for name in NAMES[8:]]


def found(cls: type[Environment]) -> str:
    subject = Subject(EnvironmentFactory.of(cls))
    with subject.instance() as environment:
        subject.listed = {split: environment.tasks(split) for split in ("train", "test")}
    try:
        return near.leaks(subject)
    except Warned as warning:
        return str(warning)
    finally:
        subject.close()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (OtherNumbers, "1 of the tested start as a training task does, numbers aside, such as"),
        (
            SameGoal,
            "1 of the tested have the goal of a training task, such as 'test-0' ('train-4')",
        ),
        (NearGoal, "1 of the tested have nearly the goal of a training task"),
        (SamePlan, "1 of the tested are solved by the expert's actions of a training task"),
        (SameEnd, "1 of the tested are solved by a training task's actions but for the first"),
        (IsAStep, "1 of the tested end in what is a step of a training task"),
    ],
)
def test_what_is_warned_of(cls: type[Environment], words: str) -> None:
    note = found(cls)
    assert words in note
    assert "'test-0'" in note


@pytest.mark.parametrize("cls", [Workshop, SameLastAction, StartsAlike])
def test_what_is_not(cls: type[Environment]) -> None:
    assert found(cls) == "of 7 tested, 8 trained tasks compared"


def test_a_warning_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        contrail.check.episodes, "walks_elsewhere", lambda subject, _: subject.walks
    )
    report = contrail.check.check(IsAStep)
    assert [finding.check for finding in report.findings if finding.state == "warned"] == ["leaks"]
    assert "leaks" not in {finding.check for finding in report.failed}


def test_textcraft_as_it_was_split() -> None:
    """By a draw of goals: planks to test on, and what is made of them to train on."""
    from contrail.envs.textcraft.environment import TextCraft

    class Drawn(TextCraft):
        def tasks(self, split: str) -> list[Task]:
            goals = [*super().tasks("train"), *super().tasks("test")]
            goals.sort(key=lambda task: task.id[::-1])
            return [
                Task("textcraft", task.id, task.seed, split, task.difficulty)
                for n, task in enumerate(goals)
                if (n % 5 == 0) == (split == "test")
            ]

    assert "end in what is a step of a training task" in found(Drawn)
    assert found(TextCraft) == "of 108 tested, 436 trained tasks compared"
