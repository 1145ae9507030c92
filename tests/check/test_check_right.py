"""What `contrail check` once refused though it is right, and passed though it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import contrail
import contrail.check
from contrail import Observation, Split, Step, Task
from contrail.check import actions, interface
from contrail.check.interface import AdapterSubject
from contrail.check.others import subject_of
from contrail.check.subject import Failed, Skipped, Subject
from contrail.registry.plugins import Plugins, load_plugins
from contrail.workers.factory import EnvironmentFactory


class Guess(contrail.Environment):
    """It lists no actions."""

    max_turns = 4

    def tasks(self, split: Split) -> list[Task]:
        return [Task("guess", f"{split}/{n}", n, split) for n in range(1, 9)]

    def reset(self, task: Task) -> Observation:
        self.number = task.seed
        return Observation("Guess a number from 1 to 8.")

    def step(self, action: str) -> Step:
        if not action.isdecimal():
            return Step(Observation("Write a number."), valid=False)
        found = int(action) == self.number
        return Step(Observation("No."), reward=float(found), terminated=found, success=found)

    def expert(self, task: Task) -> list[str]:
        return [str(task.seed)]


class Unknown(Guess):
    def expert(self, task: Task) -> None:  # type: ignore[override]
        return None


class Numbers(contrail.Adapter):
    """It reads one number and nothing else."""

    def render(self, observation: Observation) -> str:
        return observation.text

    def parse(self, text: str, observation: Observation) -> str:
        found = re.findall(r"\d+", text[:1000])
        if len(found) != 1:
            raise contrail.InvalidAction("Answer with one number.")
        return str(found[0])


class Stops(Numbers):
    """The model stops after the first line, and the answer has two."""

    stop = ("\n",)

    def answer(self, action: str) -> str:
        return f"I guess.\n{action}"


class Ends(Stops):
    def answer(self, action: str) -> str:
        return f"I guess {action}\n"


class Short(Numbers):
    max_new_tokens = 3

    def answer(self, action: str) -> str:
        return f"This is my guess: {action}"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.fixture
def subject(plugins: Plugins) -> Iterator[Callable[..., AdapterSubject]]:
    made: list[AdapterSubject] = []

    def make(cls: type, environment: type = Guess) -> AdapterSubject:
        name = plugins.name_of(cls) or plugins.add_class(cls)
        where = plugins.name_of(environment) or plugins.add_class(environment)
        found: Any = subject_of("adapter", name, plugins, environment=where)
        made.append(found)
        interface.messages(found)
        return made[-1]

    yield make
    for item in made:
        item.close()


def test_without_a_list_the_answers_are_those_of_the_expert(
    subject: Callable[..., AdapterSubject],
) -> None:
    assert interface.answers(subject(Numbers)).endswith("actions")
    assert interface.answers(subject(Ends)).endswith("actions")
    with pytest.raises(Skipped, match="lists no actions, and has no expert"):
        interface.answers(subject(Numbers, Unknown))


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Stops, r"answer\('1'\) is 'I guess.\\n1', which the model cannot write: it stops"),
        (Short, r"answer\('1'\) is 'This is .*', which max_new_tokens \(3\) cuts off"),
    ],
)
def test_an_answer_that_the_model_cannot_write(
    cls: type, words: str, subject: Callable[..., AdapterSubject]
) -> None:
    with pytest.raises(Failed, match=words):
        interface.answers(subject(cls))


class Walk(contrail.Environment):
    """Each step costs 1, and the last one ends the walk."""

    max_turns = 12
    cost = 1.0

    def tasks(self, split: Split) -> list[Task]:
        first = {"train": 2, "test": 3}[split]
        return [Task("walk", f"{split}/{n}", n, split) for n in range(first, 12, 2)]

    def reset(self, task: Task) -> Observation:
        self.left = task.seed
        return self.seen()

    def seen(self) -> Observation:
        return Observation(f"{self.left} steps to go.", ["forward", "wait"])

    def step(self, action: str) -> Step:
        if action not in ("forward", "wait"):
            return Step(self.seen(), reward=-self.cost, valid=False)
        self.left -= action == "forward"
        done = self.left == 0
        return Step(self.seen(), reward=-self.cost, terminated=done, success=done)

    def expert(self, task: Task) -> list[str] | None:
        return ["forward"] * task.seed


class Free(Walk):
    cost = 0.0


class Breaks(Walk):
    """It has no expert, and raises late in an episode."""

    max_turns = 30

    def reset(self, task: Task) -> Observation:
        self.turns = 0
        self.left = 1000
        return self.seen()

    def step(self, action: str) -> Step:
        self.turns += 1
        if self.turns > 26:
            raise RuntimeError("the floor broke")
        return super().step(action)

    def expert(self, task: Task) -> None:
        return None


@pytest.fixture
def environment(plugins: Plugins) -> Iterator[Callable[[type], Subject]]:
    made: list[Subject] = []

    def make(cls: type) -> Subject:
        name = plugins.name_of(cls) or plugins.add_class(cls)
        subject = Subject(EnvironmentFactory(name, plugins.environments[name], None))
        subject.listed = {split: subject.used.tasks(split) for split in ("train", "test")}
        subject.tasks = subject.sample(3)
        subject.walks = [list(subject.walk(subject.used, task)) for task in subject.tasks]
        made.append(subject)
        return subject

    yield make
    for subject in made:
        subject.close()


def test_a_cost_for_each_step_is_a_reward(environment: Callable[[type], Subject]) -> None:
    subject = environment(Walk)
    actions.success(subject)
    assert actions.expert(subject).startswith("6 of 6")
    with pytest.raises(Failed, match="is solved by 'forward' without a reward"):
        actions.expert(environment(Free))


def test_without_an_expert_it_is_played_to_the_last_turn(
    environment: Callable[[type], Subject],
) -> None:
    with pytest.raises(RuntimeError, match="the floor broke"):
        actions.success(environment(Breaks))
    report = contrail.check.check(Breaks)
    notes = {finding.check: finding.note for finding in report.failed}
    assert "the floor broke" in notes["success"]
