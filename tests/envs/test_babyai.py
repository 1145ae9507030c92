"""BabyAI on the real minigrid."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

import contrail
from contrail.envs.babyai import environment as babyai
from contrail.envs.babyai.environment import (
    AGENTGYM,
    BabyAI,
    BabyAIConfig,
    agentgym_task,
    start_state,
)
from contrail.envs.babyai.expert import PUSHES, Plan, Stuck
from contrail.envs.babyai.world import World, front, plan, routes
from contrail.errors import ConfigError

VARIED = [
    "GoToLocal",
    "GoToObjDoor",
    "PickupLoc",
    "OpenDoorLoc",
    "UnlockLocalDist",
    "PutNextLocalS6N4",
    "PutNextS7N4Carrying",
    "KeyInBox",
    "BlockedUnlockPickup",
    "BossLevel",
]


def make(*levels: str, train: int = 20, test: int = 5) -> BabyAI:
    return BabyAI(BabyAIConfig(list(levels), train, test))


def replay(environment: BabyAI, task: contrail.Task, actions: list[str]) -> contrail.Step:
    """Play the actions, each of which must be admissible when its turn comes."""
    observation = environment.reset(task)
    for action in actions:
        assert action in (observation.actions or ())
        step = environment.step(action)
        observation = step.observation
        assert step.valid
    assert actions
    return step


def test_splits_share_no_start_state() -> None:
    environment = make("GoToObjS4", "GoToObjS6", "GoToRedBallNoDists", train=900, test=300)
    states = {}
    for split in ("train", "test"):
        tasks = environment.tasks(split)
        assert {task.split for task in tasks} == {split}
        states[split] = [
            (level, start_state(level, task.seed)[0])
            for task in tasks
            for level in [task.id.partition("/")[0]]
        ]
        assert len(set(states[split])) == len(tasks)  # each state once
    assert not {state for _, state in states["train"]} & {state for _, state in states["test"]}
    # The smallest level has fewer states than were asked for, and the listing ends all the same.
    assert len([level for level, _ in states["train"] if level == "GoToObjS4-v0"]) < 100


def test_a_turned_grid_is_the_same_start_state(monkeypatch: pytest.MonkeyPatch) -> None:
    game = babyai.maker("GoToLocal")()
    game.reset(seed=5)
    size = game.width

    class Turned:
        """The game of seed 5 with everything turned clockwise, `quarters` times."""

        def __init__(self, quarters: int) -> None:
            self.quarters = quarters

        def __getattr__(self, name: str) -> object:
            return getattr(game, name)

        def reset(self, seed: int) -> None:
            grid, (x, y) = game.grid.copy(), game.agent_pos
            for _ in range(self.quarters):
                grid, (x, y) = grid.rotate_left().rotate_left().rotate_left(), (size - 1 - y, x)
            self.grid, self.agent_pos = grid, (x, y)
            self.agent_dir = (game.agent_dir + self.quarters) % 4

    hashes = set()
    for quarters in range(4):
        monkeypatch.setattr(babyai, "maker", lambda _, q=quarters: lambda: Turned(q))
        hashes.add(start_state.__wrapped__("GoToLocal-v0", 5))
    assert len(hashes) == 1
    assert hashes == {start_state("GoToLocal-v0", 5)}


def test_tasks_share_out_evenly_and_carry_level_seed_and_difficulty() -> None:
    environment = make("GoToLocal", "BabyAI-BossLevel-v0", "22", train=7, test=3)
    tasks = environment.tasks("train")
    levels = [task.id.partition("/")[0] for task in tasks]
    assert levels == ["GoToLocal-v0"] * 3 + ["BossLevel-v0"] * 2 + ["PutNextLocalS6N4-v0"] * 2
    assert all(task.id.endswith(f"/seed-{task.seed}") for task in tasks)
    assert {task.difficulty for task in tasks} == {"easy", "medium", "hard"}
    assert tasks == environment.tasks("train")
    assert len(environment.tasks("test")) == 3
    with pytest.raises(ValueError, match="validation"):
        environment.tasks("validation")


def test_all_levels_of_agentgym_are_there() -> None:
    environment = BabyAI()
    tasks = environment.tasks("test")
    assert len(environment._levels) == len(AGENTGYM) == 40
    assert len(tasks) == 100
    assert {task.difficulty for task in tasks} == {"easy", "medium", "hard"}


def test_agentgym_numbers() -> None:
    task = agentgym_task(123)  # 123 = 3 * 40 + 3: the fourth level, renamed since
    assert (task.id, task.seed, task.difficulty) == ("GoToObjS6-v1/seed-3", 3, "easy")
    assert task in make("4", train=20, test=20).tasks(task.split)


def test_levels_by_any_name() -> None:
    assert make("GoToObjS6", "BabyAI-GoToObjS6-v0", "GoToObjS6-v1", "4")._levels == ["GoToObjS6-v1"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BabyAIConfig(["GoToLokal"]), "Did you mean 'GoToLocal'"),
        (BabyAIConfig(["41"]), "1 to 40"),
        (BabyAIConfig([]), "levels is empty"),
        (BabyAIConfig(["GoToObj"], train_tasks=-1), "negative"),
    ],
)
def test_wrong_settings_are_refused(config: BabyAIConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BabyAI(config)


@pytest.mark.parametrize("level", VARIED)
def test_every_listed_action_is_accepted(level: str) -> None:
    environment = make(level, train=4)
    rng = random.Random(0)
    for task in environment.tasks("train"):
        observation = environment.reset(task)
        for _ in range(25):
            assert observation.actions
            assert len(set(observation.actions)) == len(observation.actions)
            assert "\n" not in observation.text
            before = [environment._world.pose, observation] if environment._world else []
            step = environment.step(rng.choice(list(observation.actions)))
            assert step.valid
            assert step.reward == float(step.success)
            # None is useless: each changes the place, the hands or what is in view.
            assert [environment._world.pose, step.observation] != before  # type: ignore[union-attr]
            if step.terminated or step.truncated:
                break
            observation = step.observation


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "  \n",
        "jump",
        "go to",
        "go to red ball 99",
        "pickup",
        "\ud800",
        "\0",
        "去 红 球",
        "x" * 10**6,
        "go to " + "é" * 50,
        "go to red ball ²",
        "turn left, turn right",
        "drop",
        "done",
    ],
)
def test_nonsense_never_raises(nonsense: str) -> None:
    environment = make("GoToLocal")
    observation = environment.reset(environment.tasks("train")[0])
    step = environment.step(nonsense)
    answer = step.observation
    assert step == contrail.Step(answer, valid=False)
    assert answer.actions == observation.actions
    assert 0 < len(answer.text) < 150
    assert answer.text.isprintable()


def test_spelling_is_forgiven_and_the_list_can_be_asked_for() -> None:
    environment = make("PickupLoc")
    task = environment.tasks("train")[0]
    observation = environment.reset(task)
    answer = environment.step("Check available actions")
    assert answer.valid
    assert "turn left" in answer.observation.text
    assert answer.observation.actions == observation.actions
    pickup = next(a for a in observation.actions or () if a.startswith("pickup"))
    assert environment.step(pickup.replace("pickup", " Pick  UP")).valid


def test_the_world_in_words() -> None:
    environment = make("GoToLocal")
    task = next(t for t in environment.tasks("train") if t.seed == 3)
    text = environment.reset(task).text
    assert text == (
        "Your goal: go to the red key. You see red box 1 (1 ahead, 1 right), green box 1 (2 ahead),"
        " grey ball 1 (3 ahead), red box 2 (2 ahead, 3 right), red key 1 (3 ahead, 2 right),"
        " red ball 1 (4 ahead, 3 right). Wall 6 ahead, 1 left. You carry nothing."
    )
    step = environment.step("pickup red box 2")
    # The other red box keeps its number.
    assert "red box 1" in step.observation.text
    assert "red box 2" not in step.observation.text
    assert "You carry a red box." in step.observation.text
    assert not any(a.startswith("pickup") for a in step.observation.actions or ())
    assert "drop" in (step.observation.actions or ())
    step = environment.step("go to red key 1")
    assert (step.success, step.terminated, step.reward) == (True, True, 1.0)
    over = environment.step("turn left")
    assert (over.valid, over.terminated, over.reward) == (False, True, 0.0)
    assert environment.reset(task).text == text


def test_a_game_without_end_is_truncated() -> None:
    environment = make("GoToObjS6")
    task = environment.tasks("train")[0]
    environment.reset(task)
    assert environment._world is not None
    environment._world.game.max_steps = 3
    steps = [environment.step("turn left") for _ in range(3)]
    assert [step.truncated for step in steps] == [False, False, True]
    assert not any(step.terminated or step.success for step in steps)


def test_plans_go_where_they_say() -> None:
    world = World(babyai.maker("GoToObjDoor")(), 1)
    found = routes([world.pose], world.free())
    end = list(found)[-1]
    world.act(plan(found, end))
    assert world.pose == end
    assert front(end) != end[:2]
    assert np.abs(np.subtract(front(end), end[:2])).sum() == 1


@pytest.mark.parametrize("level", VARIED)
def test_the_expert_solves(level: str) -> None:
    environment = make(level, train=3)
    for task in environment.tasks("train"):
        actions = environment.expert(task)
        assert actions is not None
        step = replay(environment, task, actions)
        assert (step.success, step.terminated, step.reward) == (True, True, 1.0)


def test_the_expert_leaves_the_current_episode_alone() -> None:
    environment = make("GoToLocal")
    first, second = environment.tasks("train")[:2]
    observation = environment.reset(first)
    environment.expert(second)
    environment.tasks("test")
    assert environment.step("drop").observation.actions == observation.actions


def test_the_expert_gives_up_where_the_bot_plans_without_end() -> None:
    environment = make("UnlockToUnlock", train=12)
    plays = [environment.expert(task) for task in environment.tasks("train")]
    assert None in plays
    assert any(plays)
    endless = Plan()
    for _ in range(PUSHES):
        endless.append(None)
    with pytest.raises(Stuck):
        endless.append(None)


def test_tasks_that_nobody_can_solve_are_left_out() -> None:
    environment = make("OpenDoorsOrderN4Debug", train=5)
    for task in environment.tasks("train"):
        assert ", then" not in environment.reset(task).text
        assert environment.expert(task)


def test_registered_and_cheap_to_import() -> None:
    code = "import sys, contrail.envs.babyai.environment as b; b.contrail_environments(print)\n"
    code += "assert not {'minigrid', 'gymnasium', 'numpy'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("babyai <class")
    assert len(BabyAI.system_prompt.split()) <= 60
