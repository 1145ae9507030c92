"""The conformance kit: for each check an environment that fails it, and it alone."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from typing import Any

import numpy
import psutil
import pytest
from corridors import BROKEN, WAYS, Corridor, LeavesAProcess, LeavesAThread

import contrail.check
from contrail import Environment, Observation, Split, Step, Task
from contrail.check import BEFORE, NEEDED, OTHERS, actions, episodes, subject, surroundings
from contrail.check.other_process import walks_elsewhere
from contrail.check.subject import Moment, Subject
from contrail.errors import ContrailError
from contrail.workers.factory import EnvironmentFactory


def test_an_environment_that_keeps_the_contract() -> None:
    report = contrail.check.check(Corridor)
    states = {finding.check: finding.state for finding in report.findings}
    assert states.pop("leaks") == "warned"  # four places, and seven tasks
    assert set(states.values()) == {"passed"}, report.failed
    notes = {finding.check: finding.note for finding in report.findings}
    assert notes["tasks"] == "4 train, 3 test"
    assert notes["expert"] == "6 of 6 tasks"
    assert "ms" in notes["speed"]


def walks_here(played: Subject, tasks: list[Task]) -> list[list[Moment]]:
    with played.instance() as environment:
        return [list(played.walk(environment, task)) for task in tasks]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "PATIENCE", 0.2)
    monkeypatch.setattr(actions, "SLOW", 0.1)


@pytest.mark.parametrize(("cls", "name", "words"), BROKEN)
def test_each_check_can_fail(
    monkeypatch: pytest.MonkeyPatch, cls: type[Environment], name: str, words: str
) -> None:
    if name != "process":  # it takes seconds to start
        monkeypatch.setattr(episodes, "walks_elsewhere", walks_here)
    try:
        report = contrail.check.check(cls)
    finally:
        LeavesAThread.stop.set()
        for process in LeavesAProcess.started:
            process.kill()
            process.communicate()
        LeavesAProcess.started.clear()
        LeavesAThread.stop.clear()
    assert [finding.check for finding in report.failed] == [name]
    assert words in report.failed[0].note
    skipped = {finding.check for finding in report.findings if finding.state == "skipped"}
    assert skipped >= {one.__name__ for one, other in BEFORE.items() if other.__name__ == name}
    if name in [check.__name__ for check in NEEDED]:
        assert all(finding.state != "passed" for finding in report.findings[len(NEEDED) :])


class OfNumpy(Corridor):
    """What numpy computes is taken, as a run takes it."""

    def step(self, action: str) -> Step:
        step = super().step(action)
        flags: Any = [numpy.bool_(flag) for flag in (step.terminated, step.success, step.valid)]
        reward: Any = numpy.float32(step.reward)
        return Step(step.observation, reward, flags[0], success=flags[1], valid=flags[2])


class StartsAnother(Corridor):
    def reset(self, task: Task) -> Observation:
        return Observation(str(subprocess.Popen(["sleep", "600"]).pid), WAYS)

    def step(self, action: str) -> Step:
        return Step(Observation(""))


def test_what_an_environment_starts_elsewhere_is_ended_and_not_waited_for() -> None:
    ((begun, *_),) = walks_elsewhere(
        Subject(EnvironmentFactory.of(StartsAnother)), [Task("x", "x", 0, "train")]
    )
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(int(begun.text)).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)  # a killed process takes a moment to end


class ManyActions(Corridor):
    resets = 0

    def reset(self, task: Task) -> Observation:
        ManyActions.resets += 1
        return super().reset(task)

    def look(self) -> Observation:
        return Observation(
            super().look().text, WAYS + [f"{way} {n}" for way in WAYS for n in "123"]
        )

    def step(self, action: str) -> Step:
        return super().step(action.split()[0] if action in (self.look().actions or ()) else action)


@pytest.mark.parametrize(("seconds", "note", "most"), [(60.0, "", 150), (0.0, "2 of 6 tasks", 26)])
def test_what_is_slow_is_played_less(
    monkeypatch: pytest.MonkeyPatch, seconds: float, note: str, most: int
) -> None:
    monkeypatch.setattr(subject, "SECONDS", seconds)
    monkeypatch.setattr(episodes, "walks_elsewhere", walks_here)
    ManyActions.resets = 0
    report = contrail.check.check(ManyActions)
    assert not report.failed
    assert report.findings[1].note.startswith(note)
    assert most / 2 < ManyActions.resets <= most


def test_numbers_of_numpy() -> None:
    assert not contrail.check.check(OfNumpy).failed


def test_every_check_has_an_environment_that_fails_it() -> None:
    known = {check.__name__ for check in (*NEEDED, *OTHERS)}
    warn = {"speed", "leaks", "difficulties", "names"}
    assert {name for _, name, _ in BROKEN} == known - warn


def test_a_difficulty_that_is_never_tested_is_told() -> None:
    class Levels(Corridor):
        def tasks(self, split: Split) -> list[Task]:
            hard = split == "test"
            return [
                dataclasses.replace(task, difficulty="hard" if hard or number % 2 else "easy")
                for number, task in enumerate(super().tasks(split))
            ]

    findings = {finding.check: finding for finding in contrail.check.check(Levels).findings}
    assert findings["difficulties"].state == "warned"
    assert "no test task has the difficulty 'easy'" in findings["difficulties"].note


def test_what_does_not_apply_is_skipped() -> None:
    class Bare(Corridor):
        def look(self) -> Observation:
            return Observation("Left or right?")

        def step(self, action: str) -> Step:
            return dataclasses.replace(super().step(action), observation=self.look())

        def expert(self, task: Task) -> None:  # type: ignore[override]
            return None

    skipped = {
        finding.check: finding.note
        for finding in contrail.check.check(Bare).findings
        if finding.state == "skipped"
    }
    assert set(skipped) == {"process", "actions", "expert"}
    assert "define it in a module" in skipped["process"]
    assert "adapter: react" in skipped["actions"]


def test_an_environment_that_cannot_be_made() -> None:
    class Missing(Corridor):
        def __init__(self, config: Any = None) -> None:
            raise ModuleNotFoundError("No module named 'maze'")

    with pytest.raises(ContrailError, match="No module named 'maze'"):
        contrail.check.check(Missing)
