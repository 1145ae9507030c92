"""BabyAI with `like: agentgym`, on rooms laid out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import contrail
from contrail.envs.babyai import agentgym
from contrail.envs.babyai import environment as babyai
from contrail.envs.babyai.agentgym import AgentGymBabyAI, start_of
from contrail.envs.babyai.environment import BabyAI, BabyAIConfig, split_of, start_state
from contrail.errors import ConfigError

FIRST = contrail.Task("babyai", "agentgym-0", 0, "train")
HERE = contrail.Task("babyai", "GoToRedBallGrey-v0/seed-0", 0, "train")
"""The same game by the usual rules."""


def room(*things: tuple[Any, int, int], mission: Any) -> Callable[[], Any]:
    """Return what makes a room of 8 by 8 cells with these things.

    The agent stands at (3, 3) and looks west; the game ends after 64 steps.
    """
    from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel

    class Room(RoomGridLevel):
        def gen_mission(self) -> None:
            for thing, x, y in deepcopy(things):
                self.grid.set(x, y, thing)
                thing.init_pos = thing.cur_pos = (x, y)
            self.agent_pos, self.agent_dir = (3, 3), 2
            self.instrs = mission

        def validate_instrs(self, instr: Any) -> None:
            pass

    return lambda: Room(room_size=8, num_rows=1, num_cols=1)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[BabyAI, contrail.Observation]]:
    def started(
        make: Callable[[], Any], task: contrail.Task = FIRST
    ) -> tuple[BabyAI, contrail.Observation]:
        for module in (agentgym, babyai):
            monkeypatch.setattr(module, "maker", lambda _: make)
        like = "agentgym" if task is FIRST else None
        environment = BabyAI(BabyAIConfig(like=like))
        return environment, environment.reset(task)

    return started


def red_ball_and_blue_key() -> Callable[[], Any]:
    """A room where the way to the key leads past the ball: at its first step the ball is faced."""
    from minigrid.core.world_object import Ball, Key
    from minigrid.envs.babyai.core.verifier import GoToInstr, ObjDesc

    mission = GoToInstr(ObjDesc("ball", "red"))
    return room((Ball("red"), 1, 3), (Key("blue"), 2, 1), mission=mission)


def test_without_like_nothing_is_different() -> None:
    assert type(BabyAI()) is BabyAI
    assert type(BabyAI(BabyAIConfig(like="agentgym"))) is AgentGymBabyAI


@pytest.mark.parametrize(
    ("number", "level", "seed"),
    [
        (0, "GoToRedBallGrey-v0", 0),
        (39, "BossLevelNoUnlock-v0", 0),
        (40, "GoToRedBallGrey-v0", 1),
        (138, "PickupLoc-v0", 3),  # 138 = 3 * 40 + 18: level 19
    ],
)
def test_a_number_is_a_level_and_a_seed(number: int, level: str, seed: int) -> None:
    assert start_of(number) == (level, seed)
    environment = BabyAI(BabyAIConfig(like="agentgym"))
    seen = environment.reset(contrail.Task("babyai", f"agentgym-{number}", number, "train"))
    game = babyai.maker(level)()
    game.reset(seed=seed)
    mission = game.mission.replace(" then ", " and ").replace(" after you ", " and ")
    assert seen.text.splitlines()[0] == f"Your goal: {mission}"


@pytest.mark.parametrize("name", ["GoToLocal-v0/seed-1", "agentgym-", "agentgym--1", "agentgym-x"])
def test_another_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a task of AgentGym"):
        BabyAI(BabyAIConfig(like="agentgym")).reset(contrail.Task("babyai", name, 0, "train"))


def test_tasks_are_in_order_and_split_by_their_start_states() -> None:
    environment = BabyAI(
        BabyAIConfig(["GoToObjS6", "PickupLoc"], train_tasks=40, test_tasks=12, like="agentgym")
    )
    for split, total in (("train", 40), ("test", 12)):
        numbers = [int(task.id.removeprefix("agentgym-")) for task in environment.tasks(split)]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == total
        assert {number % 40 for number in numbers} == {3, 18}
        assert {split_of(start_state(*start_of(number))[0]) for number in numbers} == {split}
    # None is left out: all numbers of these levels up to there stand in one of the splits.
    both = {task.seed for split in contrail.SPLITS for task in environment.tasks(split)}
    last = min(environment.tasks(split)[-1].seed for split in contrail.SPLITS)
    assert {number for number in both if number <= last} == {
        number for number in range(last + 1) if number % 40 in (3, 18)
    }


def test_the_tests_are_those_of_agentgyms_file(tmp_path: Path) -> None:
    file = tmp_path / "babyai_test.json"
    file.write_text(json.dumps([{"item_id": f"babyai_{number}"} for number in (58, 4, 3, 43)]))
    environment = BabyAI(
        BabyAIConfig(["GoToObjS6", "PickupLoc"], 30, 1, like="agentgym", test_ids=str(file))
    )
    assert [task.id for task in environment.tasks("test")] == [  # 4 is of another level
        "agentgym-3",
        "agentgym-43",
        "agentgym-58",
    ]
    train = environment.tasks("train")
    assert len(train) == 30
    assert train[0].id == "agentgym-18"
    states = [
        {start_state(*start_of(task.seed))[0] for task in environment.tasks(split)}
        for split in contrail.SPLITS
    ]
    assert not states[0] & states[1]
    with pytest.raises(ConfigError, match="test_ids is for like"):
        BabyAI(BabyAIConfig(test_ids=str(file)))


def test_a_level_without_test_states_ends_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agentgym, "split_of", lambda state: "train")
    monkeypatch.setattr(agentgym, "start_state", lambda level, seed: ("", True))
    assert BabyAI(BabyAIConfig(like="agentgym")).tasks("test") == []


def test_a_goal_that_is_passed_on_the_way_is_not_reached(play: Any) -> None:
    """Three steps: forward (facing the ball), right, forward (facing the key)."""
    environment, _ = play(red_ball_and_blue_key())
    step = environment.step("go to blue key 1")
    assert (step.reward, step.terminated, step.success) == (0, False, False)
    usual, _ = play(red_ball_and_blue_key(), HERE)
    step = usual.step("go to blue key 1")
    assert (step.reward, step.terminated, step.success) == (1, True, True)


def test_the_reward_falls_with_the_steps_of_the_game(play: Any) -> None:
    environment, _ = play(red_ball_and_blue_key())
    environment.step("go to blue key 1")  # 3 steps, to (2, 2), looking north
    step = environment.step("turn left")
    assert "red ball 1 (1 steps ahead and 1 to your left)" in step.observation.text
    step = environment.step("go to red ball 1")  # forward and left: 6 of 64 steps
    assert step.reward == pytest.approx(1 - 0.9 * 6 / 64)
    assert step.terminated
    assert step.success
    assert step.info["score"] == step.reward
    over = environment.step("turn left")
    assert (over.reward, over.terminated, over.valid) == (0, True, False)


def test_a_late_win_does_not_end_the_game_and_counts_again(play: Any) -> None:
    environment, _ = play(red_ball_and_blue_key())
    for _ in range(40):
        assert environment.step("turn left").reward == 0
    late = environment.step("go to red ball 1")  # the 41st step: a reward of 0.42
    assert late.reward == pytest.approx(1 - 0.9 * 41 / 64)
    assert "The task is completed." in late.observation.text
    assert not late.terminated
    assert not late.success
    again = environment.step("check available actions")
    assert again.reward == late.reward
    assert again.info["score"] == pytest.approx(2 * late.reward)
    assert environment.step("turn left").reward == 0  # the ball is no longer faced


def test_the_list_of_actions(play: Any) -> None:
    from minigrid.core.world_object import Box, Door, Key
    from minigrid.envs.babyai.core.verifier import ObjDesc, OpenInstr

    make = room(
        (Door("red"), 1, 3),
        (Door("green", is_locked=True), 2, 5),
        (Key("blue"), 2, 1),
        (Box("grey"), 3, 1),
        mission=OpenInstr(ObjDesc("door", "red")),
    )
    environment, seen = play(make)
    assert seen.text == (
        "Your goal: open the red door\n"
        "You see: red closed door 1 (2 steps ahead), grey box 1 (0 steps ahead and 2 to your "
        "right), green locked door 1 (1 steps ahead and 2 to your left), blue key 1 (1 steps ahead "
        "and 2 to your right). Ahead is a wall, 3 steps away. You carry nothing."
    )
    # From near to far; among the equally near, those further ahead and then those further left.
    assert seen.actions == [
        "turn left",
        "turn right",
        "move forward",
        "pickup grey box 1",
        "pickup blue key 1",
        "toggle and go through red closed door 1",
        "go to red closed door 1",
        "go to grey box 1",
        "go to green locked door 1",
        "go to blue key 1",
        "check available actions",
    ]
    refused = {
        "go through red closed door 1": "closed",
        "toggle and go through green locked door 1": "no key",
        "drop": "carry nothing",
        "pickup red ball 1": "not an action",
        "": "Nothing changes",
    }
    for action, why in refused.items():
        step = environment.step(action)
        assert why in step.observation.text
        assert not step.valid
    assert environment.step("Check them, please!").valid
    step = environment.step("**Go to red closed door 1.**")  # read as AgentGym's client does
    assert step.valid
    assert "toggle" in step.observation.actions


def test_a_door_is_opened_by_toggle_alone(play: Any) -> None:
    """The last of the three steps counts, and it opens nothing."""
    from minigrid.core.world_object import Door
    from minigrid.envs.babyai.core.verifier import ObjDesc, OpenInstr

    make = room((Door("red"), 1, 3), mission=OpenInstr(ObjDesc("door", "red")))
    environment, _ = play(make)
    assert not environment.step("toggle and go through red closed door 1").success
    environment.reset(FIRST)
    environment.step("go to red closed door 1")
    assert environment.step("toggle").success
    assert environment.expert(FIRST)[-1] == "toggle"


def test_the_order_of_two_goals_is_not_told() -> None:
    environment = BabyAI(BabyAIConfig(like="agentgym"))
    goals = [
        environment.reset(contrail.Task("babyai", f"agentgym-{n}", n, "train")).text.splitlines()[0]
        for n in range(7, 400, 40)  # GoToSeqS5R2
    ]
    assert any(" and " in goal for goal in goals)
    assert not any("then" in goal or "after you" in goal for goal in goals)


def test_the_expert_wins_by_listed_actions() -> None:
    environment = BabyAI(BabyAIConfig(like="agentgym"))
    won = 0
    for number in range(40):
        task = contrail.Task("babyai", f"agentgym-{number}", number, "train")
        actions = environment.expert(task)
        if actions is None:
            continue
        seen = environment.reset(task)
        for action in actions:
            assert action in seen.actions
            step = environment.step(action)
            seen = step.observation
        assert step.success
        won += 1
    assert won >= 34


def test_a_subclass_may_take_further_arguments() -> None:
    class Small(BabyAI):
        def __init__(self, config: BabyAIConfig, size: int, *, quiet: bool) -> None:
            super().__init__(config)
            self.size, self.quiet = size, quiet

    made = Small(BabyAIConfig(levels=["GoToObj"]), 3, quiet=True)
    assert (type(made), made.size, made.quiet) == (Small, 3, True)
