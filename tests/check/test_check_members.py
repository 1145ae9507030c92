"""Names of a plugin's class that are nearly those of its base class."""

from __future__ import annotations

from typing import Any

import pytest

import contrail
import contrail.check
from contrail.check import NEEDED, OTHERS, members, run
from contrail.check.members import misspelt
from contrail.check.others import CHECKS, subject_of
from contrail.registry.plugins import load_plugins


class Draws(contrail.Strategy):
    """It draws nothing, for `drawe` is never called."""

    start_at = 1

    def drawe(self, stage: Any, update: int, count: int, rng: Any) -> Any: ...

    def _observe(self) -> None: ...

    def helper(self) -> None: ...


class Speaks(contrail.Adapter):
    def rendr(self, episode: Any, observation: Any) -> str: ...


class Learns(contrail.Objective):
    def state_dic(self) -> None: ...


class Door(contrail.Environment):
    max_turn = 4
    notes_: list[str]

    def tasks(self, split: Any) -> list[contrail.Task]:
        return [contrail.Task("door", split, len(split), split)]

    def task(self) -> None:
        """Not meant as `tasks`, which is there."""

    def reset(self, task: contrail.Task) -> contrail.Observation:
        return contrail.Observation(f"a door {task.id}", ["open"])

    def step(self, action: str) -> contrail.Step:
        done = action == "open"
        return contrail.Step(contrail.Observation("", ["open"]), float(done), done, success=done)

    def experts(self, task: contrail.Task) -> list[str]:
        return ["open"]


class Fine(Door):
    """Its own names are far from others; those of a class between may be wrong all the same."""

    def unlock(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Draws, {"start_at": "starts_at", "drawe": "draw"}),
        (Speaks, {"rendr": "render"}),
        (Learns, {"state_dic": "state_dict"}),
        (Door, {"max_turn": "max_turns", "notes_": "notes", "experts": "expert"}),
        (Fine, {"max_turn": "max_turns", "notes_": "notes", "experts": "expert"}),
        (contrail.Strategy, {}),
        (int, {}),
    ],
)
def test_names_that_are_nearly_others(cls: type, expected: dict[str, str]) -> None:
    assert dict(misspelt(cls)) == expected


def test_what_ships_is_spelt_well() -> None:
    plugins = load_plugins()
    tables = (plugins.environments, plugins.adapters, plugins.strategies, plugins.objectives)
    classes = [entry.value for table in tables for entry in table.entries.values()]
    assert len(classes) > 40
    assert {cls.__name__: found for cls in classes if (found := dict(misspelt(cls)))} == {}


def test_check_warns_of_them() -> None:
    report = contrail.check.check(Door)
    (finding,) = [finding for finding in report.findings if finding.check == "names"]
    assert finding.state == "warned"
    assert "Door: max_turn is never used: did you mean max_turns?" in finding.note
    plugins = load_plugins()
    name = plugins.add_class(Draws)
    subject = subject_of("strategy", name, plugins)
    try:
        found = run(members.names, subject)
    finally:
        subject.close()
    assert found.state == "warned"
    assert "drawe is never used: did you mean draw?" in found.note


def test_every_class_is_checked_so() -> None:
    assert members.names in (*NEEDED, *OTHERS)
    for kind in ("adapter", "strategy", "objective"):
        assert members.names in CHECKS[kind].others
    plugins = load_plugins()
    subject = subject_of("adapter", "react", plugins)
    try:
        assert run(members.names, subject).state == "passed"
    finally:
        subject.close()
