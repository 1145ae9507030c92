"""The conformance kit: for each check an environment that fails it, and it alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest

import contrail.check
from contrail import Environment, Observation, Step, Task
from contrail.check import BEFORE, NEEDED, OTHERS, actions, episodes, subject, surroundings
from contrail.check.other_process import walks_elsewhere
from contrail.check.subject import Moment, Subject
from contrail.errors import ContrailError
from contrail.registry import Plugins
from contrail.workers.factory import EnvironmentFactory

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


def test_an_environment_that_keeps_the_contract() -> None:
    report = contrail.check.check(Corridor)
    states = {finding.check: finding.state for finding in report.findings}
    assert states.pop("leaks") == "warned"  # four places, and seven tasks
    assert set(states.values()) == {"passed"}, report.failed
    notes = {finding.check: finding.note for finding in report.findings}
    assert notes["tasks"] == "4 train, 3 test"
    assert notes["expert"] == "6 of 6 tasks"
    assert "ms" in notes["speed"]


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
    (Refuses, "actions", "'dig' is listed, and refused: 'That is no way.'"),
    (RaisesOnNonsense, "nonsense", "UnicodeEncodeError"),
    (Echoes, "nonsense", "Do not repeat"),
    (Slow, "nonsense", "look at the first"),
    (EndIsSuccess, "success", "6 turns of nonsense"),
    (NoReward, "success", "Training follows the reward"),
    (LosesItsWay, "expert", "not solved, with a reward of 0"),
    (SecretWay, "expert", "which is not listed"),
    (SeedsTheWorld, "randomness", "reset changes the global state of random"),
    (DrawsFromNumpy, "randomness", "step changes the global state of numpy.random"),
    (LeavesAThread, "closing", "(lost)"),
    (LeavesAProcess, "closing", "process "),
    (ClosesOnce, "closing", "raised ValueError: closed already"),
]


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


@pytest.mark.parametrize(("seconds", "note", "most"), [(60.0, "", 150), (0.0, "2 of 6 tasks", 24)])
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
    assert {name for _, name, _ in BROKEN} == known - {"speed", "leaks"}  # which do not fail


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


PLUGIN = '''
from dataclasses import dataclass
import contrail

@dataclass
class LampConfig:
    works: bool = True

class Lamp(contrail.Environment):
    """Switch it on."""
    Config = LampConfig
    def tasks(self, split):
        return [contrail.Task("lamp", split, len(split), split)]
    def reset(self, task):
        return contrail.Observation(f"Lamp {task.seed} is dark.", ["switch"])
    def step(self, action):
        lit = action == "switch"
        seen = contrail.Observation("Light." if lit else "Dark.", ["switch"])
        return contrail.Step(seen, float(lit and self.config.works), lit, success=lit)

@contrail.hookimpl
def contrail_environments(register):
    register("lamp", Lamp)
'''


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    from contrail.cli import app as cli

    (tmp_path / "lamp.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["contrail", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_command(command: Command) -> None:
    code, out, _ = command("check", "lamp.py", "--tasks", "1")
    assert code == 0
    assert "lamp" in out
    assert "skipped │ no expert" in out.replace("┃", "│")


def test_an_environment_that_ends_the_process(command: Command, tmp_path: Path) -> None:
    ends = "        print('noise')\n        if action == 'xyzzy': os._exit(3)\n        lit ="
    (tmp_path / "lamp.py").write_text(f"import os\n{PLUGIN.replace('        lit =', ends)}")
    code, out, _ = command("check", "lamp.py", "--json")
    assert code == 1
    (report,) = json.loads(out)
    (failed,) = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert failed["check"] == "nonsense"
    assert "exit code 3" in failed["note"]
    last = report["findings"][-1]
    assert (last["state"], last["note"]) == ("skipped", "first put right: nonsense")


def test_the_command_with_settings(command: Command) -> None:
    code, out, _ = command("check", "lamp", "lamp.py", "works=false", "--json")
    assert code == 1
    (report,) = json.loads(out)
    failed = [finding for finding in report["findings"] if finding["state"] == "failed"]
    assert [finding["check"] for finding in failed] == ["success"]
    # The other process has loaded the plugin's file too, and its settings.
    states = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert states["process"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lmap.py"], ["lmap.py", "'lamp.py'"]),
        (["babyia"], ["'babyia'", "'babyai'"]),
        (["lamp", "lamp.py", "work=1"], ["work=1", "'works'"]),
        (["lamp", "lamp.py", "works=perhaps"], ["works", "true or false"]),
        (["babyai", "levels=[GoToLocl]"], ["'GoToLocl'", "'GoToLocal'"]),
        (["lamp.py", "--tasks", "0"], ["--tasks"]),
    ],
)
def test_usage_errors(command: Command, arguments: list[str], words: list[str]) -> None:
    code, out, err = command("check", *arguments)
    assert code == 2
    assert not out
    for word in words:
        assert word in err


def test_environments(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(Corridor):
        def __init__(self, config: Any = None) -> None:
            raise ModuleNotFoundError("No module named 'maze'")

    class Known(Corridor):
        about_data = "7 doors [free]"

    def only(self: Plugins) -> None:
        self.environments.register("corridor", Known, "p")
        self.environments.register("maze", Missing, "p")
        self.environments.register("raises", Raises, "p")

    monkeypatch.setattr(Plugins, "add_installed", only)
    code, out, _ = command("environments")
    assert code == 0
    assert "7 doors [free]" in out
    assert "pip install 'contrail[maze]'" in " ".join(out.split())
    _, out, _ = command("environments", "--json")
    corridor, maze, broken = json.loads(out)
    assert corridor == {
        "environment": "corridor",
        "tasks": {"train": 4, "test": 3},
        "difficulties": [],
        "actions": True,
        "expert": True,
        "extra": None,
        "about_data": "7 doors [free]",
        "missing": "",
    }
    assert maze["tasks"] == {}
    assert "KeyError: 'door'" in broken["missing"]
