"""ScienceWorld with `like: agentgym`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("scienceworld", reason="needs pip install 'contrail[sciworld]'")
if shutil.which("java") is None:
    pytest.skip("needs Java", allow_module_level=True)

from contrail import SPLITS, Task
from contrail.envs.sciworld.agentgym import AgentGymSciWorld
from contrail.envs.sciworld.environment import SciWorld, SciWorldConfig
from contrail.errors import ConfigError


def make(**settings: object) -> SciWorld:
    return SciWorld(SciWorldConfig(**settings, like="agentgym"))


def task(number: int) -> Task:
    return Task("sciworld", f"agentgym-{number}", number, "train")


@pytest.fixture(scope="module")
def environment() -> Iterator[SciWorld]:
    environment = make()
    yield environment
    environment.close()


def test_without_like_nothing_is_different() -> None:
    assert type(SciWorld()) is SciWorld
    assert type(make()) is AgentGymSciWorld


def test_variations_are_numbered_through_task_by_task() -> None:
    tasks = {task.seed: task for split in SPLITS for task in make().tasks(split)}
    assert all(task.id == f"agentgym-{number}" for number, task in tasks.items())
    # Boiling has 30 variations, of which the last 9 are tests; melting, freezing and changing the
    # state 30 each; using a thermometer 540. The development variations are in no split.
    assert [
        number for number in range(60) if number in tasks and tasks[number].split == "test"
    ] == [
        *range(21, 30),
        *range(51, 60),
    ]
    easy = [number for number, task in tasks.items() if task.difficulty == "easy"]
    assert min(easy) == 120  # the first easy task is to use a thermometer
    assert max(tasks) == 4639 - 1


def test_the_tests_are_those_of_agentgyms_file(tmp_path: Path) -> None:
    file = tmp_path / "sciworld_test.json"
    file.write_text('[{"item_id": "sciworld_31"}, {"item_id": "sciworld_3"}]')
    environment = make(test_ids=str(file))
    assert [task.id for task in environment.tasks("test")] == ["agentgym-3", "agentgym-31"]
    assert len(environment.tasks("train")) == 4639 - 2
    with pytest.raises(ConfigError, match="test_ids is for like"):
        SciWorld(SciWorldConfig(test_ids=str(file)))


@pytest.mark.parametrize(
    ("number", "start"),
    [
        (0, ("boil", 0)),
        (31, ("melt", 1)),
        (119, ("change-the-state-of-matter-of", 29)),
        (120, ("use-thermometer", 0)),
        (659, ("use-thermometer", 539)),
        (660, ("measure-melting-point-known-substance", 0)),
        (1396, ("power-component", 0)),
        (4638, ("identify-life-stages-2", 9)),
    ],
)
def test_a_number_is_a_task_and_a_variation(number: int, start: tuple[str, int]) -> None:
    assert make()._start_of(task(number)) == start


def test_tasks_that_agentgym_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="its last is 4638"):
        make()._start_of(task(4639))
    with pytest.raises(ConfigError, match=r"leaves out grow-plant\."):
        make(tasks=["boil", "grow-plant"])
    with pytest.raises(ConfigError, match="simplifications"):
        make(simplifications=["teleportAction"])
    assert {task.seed for task in make(tasks=["melt"]).tasks("train")} == {*range(30, 44)}


@pytest.mark.slow
def test_the_rewards_add_up_to_the_score(environment: SciWorld) -> None:
    first = 3256  # find-non-living-thing/20
    assert environment._start_of(task(first)) == ("find-non-living-thing", 20)
    seen = environment.reset(task(first))
    assert not any(action.startswith("teleport") for action in seen.actions or ())  # not easy
    rewards = []
    for action in environment.expert(task(first)) or ():
        step = environment.step(action)
        rewards.append(step.reward)
        assert step.info["score"] == pytest.approx(sum(rewards) / 100)
    assert sum(rewards) == 100
    assert step.success


@pytest.mark.slow
def test_a_wrong_decision_costs_a_hundred(environment: SciWorld) -> None:
    environment.reset(task(30))  # melt/0 begins with a score of 0
    wrong = environment.step("focus on agent")
    assert (wrong.reward, wrong.terminated, wrong.success) == (-100, True, False)
    assert wrong.info["score"] == 0  # the share of the task that is solved; rewards are -100


@pytest.mark.slow
@pytest.mark.parametrize(("action", "times"), [("wait", 10), ("wait1", 51)])
def test_an_episode_ends_after_a_hundred_moves(
    environment: SciWorld, action: str, times: int
) -> None:
    """ScienceWorld counts 11 for `wait`, 2 for `wait1` and none for looking."""
    environment.reset(task(0))
    environment.step("look around")
    ends = [environment.step(action).terminated for _ in range(times)]
    assert ends == [False] * (times - 1) + [True]
