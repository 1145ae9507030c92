"""ScienceWorld: its own simulator, in a Java machine that never stays behind."""

from __future__ import annotations

import gc
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pids import gone

pytest.importorskip("scienceworld", reason="needs pip install 'contrail[sciworld]'")
if shutil.which("java") is None:
    pytest.skip("needs Java", allow_module_level=True)

from contrail import Task
from contrail.envs.sciworld.environment import SciWorld, SciWorldConfig
from contrail.envs.sciworld.tasks import KINDS
from contrail.errors import ConfigError, ContrailError

SHORT = Task("sciworld", "find-non-living-thing/20", 20, "train", "easy")
WANDERERS = Task("sciworld", "find-animal/3", 3, "train", "easy")  # they take random steps
MELT = Task("sciworld", "melt/0", 0, "train", "hard")  # unlike some, it starts with a score of 0
ODD = ["", " ", "\n", "dance", "open", "focus on", "x" * 1_000_000, "🪵 木", "\ud800", "\x00"]


PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
"""Of this file, for processes elsewhere."""


def machines() -> list[psutil.Process]:
    """The Java machines that this process has started."""
    return [child for child in psutil.Process().children() if child.name() == "java"]


@pytest.fixture(scope="module")
def environment() -> Iterator[SciWorld]:
    made = SciWorld()
    yield made
    made.close()


def test_tasks() -> None:
    whole = SciWorld()
    train, test = whole.tasks("train"), whole.tasks("test")
    dev = SciWorld(SciWorldConfig(test_part="dev")).tasks("test")
    assert len({task.id for task in train + test + dev}) == len(train + test + dev) == 7207
    assert set(Counter(task.difficulty for task in train)) == {"easy", "medium", "hard"}
    few = SciWorld(SciWorldConfig(tasks=["boil", "melt"], variations=2)).tasks("test")
    assert [task.id for task in few] == ["boil/21", "boil/22", "melt/21", "melt/22"]
    assert not machines()


@pytest.mark.parametrize("name", ["melt", "identify-life-stages-2", "use-thermometer"])
def test_the_split_is_the_simulators(environment: SciWorld, name: str) -> None:
    environment.reset(Task("sciworld", f"{name}/0", 0, "train"))
    world, kind = environment._world, KINDS[name]
    assert list(world.getVariationsTrain()) == list(kind.variations("train"))
    assert list(world.getVariationsDev()) == list(kind.variations("dev"))
    assert list(world.getVariationsTest()) == list(kind.variations("test"))


def test_the_gold_path_solves_it_in_listed_actions(environment: SciWorld) -> None:
    observation = environment.reset(SHORT)
    assert "Your task is to find" in observation.text
    total = 0.0
    plan = environment.expert(SHORT) or []
    for action in plan:
        assert action in (observation.actions or ())
        step = environment.step(action)
        observation = step.observation
        total += step.reward
        assert step.success == (action is plan[-1])
    assert total == pytest.approx(1)
    assert step.terminated
    assert environment.step("look around").valid is False


def test_asking_the_expert_leaves_the_episode_where_it_was(environment: SciWorld) -> None:
    environment.reset(SHORT)
    environment.step("teleport to kitchen")
    before = environment.step("look around").observation
    environment.expert(WANDERERS)
    assert environment.step("look around").observation == before


def test_a_wrong_decision_ends_it_with_nothing(environment: SciWorld) -> None:
    environment.reset(WANDERERS)
    steps = [environment.step("focus on agent")]
    assert steps[-1].valid
    assert steps[-1].terminated
    assert not steps[-1].success
    assert sum(step.reward for step in steps) == 0


def test_nonsense(environment: SciWorld) -> None:
    start = environment.reset(MELT)
    for action in ODD:
        step = environment.step(action)
        assert (step.valid, step.reward, step.terminated) == (False, 0, False)
        assert len(step.observation.text) < 200
    assert environment.reset(MELT) == start


def test_an_ambiguous_action_lists_its_readings(environment: SciWorld) -> None:
    environment.reset(SHORT)
    environment.step("teleport to art studio")
    step = environment.step("look at paint")
    assert "Ambiguous request" in step.observation.text
    assert list(step.observation.actions or ())[:2] == ["0", "1"]
    assert environment.step("0").valid


def test_without_the_list() -> None:
    environment = SciWorld(SciWorldConfig(actions=False))
    assert environment.reset(SHORT).actions is None
    environment.close()


def test_the_machine_ends_with_its_environment(environment: SciWorld) -> None:
    environment.reset(SHORT)
    shared = {machine.pid for machine in machines()}
    closed, dropped = SciWorld(), SciWorld()
    for each in (closed, dropped):
        each.reset(SHORT)
    own = [machine.pid for machine in machines() if machine.pid not in shared]
    assert len(own) == 2
    closed.close()
    closed.close()
    del each, dropped
    gc.collect()
    assert all(map(gone, own))
    assert closed.reset(SHORT).text  # and a new one starts when it is played on
    closed.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_machine_ends_with_a_killed_process(how: signal.Signals) -> None:
    code = (
        f"import sys, time; sys.path[:0] = {PATHS!r}\n"
        "import test_sciworld as t\n"
        "environment = t.SciWorld(); environment.reset(t.SHORT)\n"
        "print(t.machines()[0].pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        machine = int(process.stdout.readline())
        process.send_signal(how)
    assert gone(machine)


def test_a_machine_that_dies_is_a_fault_once() -> None:
    environment = SciWorld()
    start = environment.reset(SHORT)
    machines()[-1].kill()
    with pytest.raises(Exception, match=r"."):
        environment.step("look around")
    assert environment.reset(SHORT) == start
    environment.close()


def test_missing_java_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContrailError, match=r"sciworld needs Java.*apt-get install"):
        SciWorld()
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ContrailError, match="does not start"):
        SciWorld().reset(SHORT)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SciWorldConfig(tasks=["boiling"]), "tasks holds 'boiling'.*'boil'"),
        (SciWorldConfig(tasks=[]), "tasks is empty"),
        (SciWorldConfig(simplifications=["hard"]), "simplifications holds 'hard'"),
        (SciWorldConfig(test_part="train"), "must be dev or test"),
        (SciWorldConfig(simplifications=["noElectricalAction"]), "power-component"),
    ],
)
def test_bad_config_is_refused(config: SciWorldConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SciWorld(config)


def test_unknown_split_and_task(environment: SciWorld) -> None:
    with pytest.raises(ConfigError, match="train"):
        environment.tasks("trian")
    for name in ("moon/0", "boil/30", "boil/x"):
        with pytest.raises(ValueError, match="no task"):
            environment.reset(Task("sciworld", name, 0, "train"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "find-plant/285",
        "chemistry-mix-paint-secondary-color/32",
        "identify-life-stages-2/9",  # it needs time to pass where the gold path opens open doors
        "grow-plant/105",  # its gold path is ambiguous
        "use-thermometer/473",
        "power-component/19",
    ],
)
def test_the_expert_says_the_gold_path_in_listed_actions(name: str, environment: SciWorld) -> None:
    task = Task("sciworld", name, int(name.split("/")[1]), "test")
    plan = environment.expert(task)
    assert plan
    step, seen = None, environment.reset(task)
    for action in plan:
        assert action in (seen.actions or ())
        step = environment.step(action)
        seen = step.observation
    assert step is not None
    assert step.success


def test_tasks_that_may_be_longer_than_an_episode_are_told() -> None:
    world = SciWorld(SciWorldConfig(tasks=["boil", "find-plant"]))
    world.tasks("train")
    assert len(world.notes) == 1
    assert "boil may take" in world.notes[0]
    longer = SciWorld(SciWorldConfig(tasks=["boil"]))
    longer.max_turns = 120
    longer.tasks("train")
    assert list(longer.notes) == []


@pytest.mark.parametrize("room", ["kitchen", "outside", "workshop"])
def test_what_is_near_is_found_in_one_call(environment: SciWorld, room: str) -> None:
    environment.reset(WANDERERS)
    environment.step(f"teleport to {room}")
    environment.step("pick up orange")
    agent = environment._world.agent().get()
    ids = set()
    for holder in (agent.getContainer().get(), agent):
        things = environment._collect(holder, True).iterator()
        while things.hasNext():
            ids.add(things.next().uuid())
    assert environment._near() == ids
    assert len(ids) > 10
