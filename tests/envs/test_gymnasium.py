"""Environments of gymnasium: what is rendered, masked, refused, and how seeds are split."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
from checked import seeds, skip

import contrail
import contrail.check
from contrail import Observation
from contrail.check import episodes
from contrail.envs.gymnasium.environment import Gymnasium, GymnasiumConfig
from contrail.envs.textarena.environment import TextArena, TextArenaConfig
from contrail.errors import ConfigError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


def test_what_is_rendered_as_text() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {"is_slippery": False}, WAYS))
    observation = lake.reset(lake.tasks("train")[0])
    assert observation == Observation("[red S]FFF\nFHFH\nFFFH\nHFFG", WAYS)
    assert lake.max_turns == 100
    for way in ["down", "down", "right", "right", "down"]:
        step = lake.step(way)
        assert not step.terminated
    step = lake.step(" right ")
    assert (step.reward, step.terminated, step.success) == (1.0, True, True)
    after = lake.step("right")
    assert (after.terminated, after.valid) == (True, False)
    lake.reset(lake.tasks("test")[0])
    lake.step("right")
    step = lake.step("down")  # into the hole: an end without success
    assert (step.reward, step.terminated, step.success) == (0.0, True, False)


def test_a_dict_with_a_text_and_an_enumeration_of_actions() -> None:
    world = Gymnasium(GymnasiumConfig("minigrid:BabyAI-GoToRedBall-v0"))
    observation = world.reset(world.tasks("train")[0])
    assert observation.text.splitlines()[-1] == "mission: go to the red ball"
    assert observation.actions is not None
    assert {"left", "right", "forward"} <= set(observation.actions)
    assert world.step("forward").valid
    assert not world.step("fly").valid


class Echo(gymnasium.Env[str, str]):
    """Says back what it is told; "done" ends it."""

    observation_space = gymnasium.spaces.Text(50)
    action_space = gymnasium.spaces.Text(10)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return f"word{int(self.np_random.integers(1000))}", {"admissible_commands": ["go", "done"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return action, -1.0, action == "done", False, {"success": action == "done"}


@pytest.fixture
def _echo() -> Iterator[None]:
    gymnasium.register("contrail/Echo-v0", entry_point=lambda **_: Echo())
    yield
    del gymnasium.registry["contrail/Echo-v0"]


@pytest.mark.usefixtures("_echo")
def test_texts_in_and_out() -> None:
    echo = Gymnasium(GymnasiumConfig("contrail/Echo-v0"))
    one, other, *_ = echo.tasks("train")
    assert echo.reset(one).actions == ["go", "done"]
    assert echo.reset(one).text == echo.reset(one).text != echo.reset(other).text
    step = echo.step("hello")
    assert (step.observation, step.valid) == (Observation("hello", None), True)
    refused = echo.step("more than ten letters")  # not of the space: never played
    assert (refused.valid, refused.reward) == (False, 0.0)
    done = echo.step("done")
    assert (done.success, done.terminated, done.reward) == (True, True, -1.0)  # as info says


def test_a_mask_of_actions() -> None:
    taxi = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI))
    for task in taxi.tasks("train")[:20]:
        actions = taxi.reset(task).actions
        assert actions is not None
        if len(actions) < 6:
            (missing, *_) = set(TAXI) - set(actions)
            assert not taxi.step(missing).valid
            return
    pytest.fail("no start state of Taxi forbids an action")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "id is missing"),
        ({"id": "FrozenLak-v1"}, "Did you mean: `FrozenLake`"),
        ({"id": "FrozenLake-v1"}, "4 actions without names"),
        ({"id": "FrozenLake-v1", "actions": ["left"]}, "4 actions without names"),
        ({"id": "CartPole-v1", "actions": ["left", "right"]}, "nothing of it is text"),
        ({"id": "Pendulum-v1"}, "nothing of it is text"),
        ({"id": "FrozenLake-v1", "actions": WAYS, "kwargs": {"lake": 1}}, "lake"),
        ({"id": "nowhere:Lake-v0"}, "nowhere"),
        ({"id": "FrozenLake-v1", "actions": WAYS, "test_tasks": 0}, "1 or more"),
    ],
)
def test_what_gymnasium_cannot_give(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        Gymnasium(GymnasiumConfig(**settings))
    assert words in str(error.value)


@pytest.mark.parametrize("counts", [(1, 1), (10, 50), (100, 10), (500, 100)])
def test_numbers_of_tasks_move_no_seed_from_one_split_to_the_other(counts: tuple[int, int]) -> None:
    """Of gymnasium and textarena; two labels of one game differ in these numbers at most."""
    few: list[contrail.Environment] = [Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, 7, 7))]
    many: list[contrail.Environment] = [
        Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, *counts))
    ]
    if importlib.util.find_spec("textarena"):
        few.append(TextArena(TextArenaConfig(train_tasks=7, test_tasks=7)))
        many.append(TextArena(TextArenaConfig("GuessTheNumber-v0", *counts)))
    for one, other in zip(few, many, strict=True):
        assert [len(seeds(other, split)) for split in ("train", "test")] == [*counts]
        assert not seeds(one, "test") & seeds(other, "train")
        assert not seeds(other, "test") & seeds(one, "train")
        assert not seeds(other, "test") & seeds(other, "train")


def test_split_by_start() -> None:
    """Taxi has some 500 starts, and the first 1,000 seeds come to most of them twice."""
    config = GymnasiumConfig("Taxi-v4", actions=TAXI, split_by="start", train_tasks=900)
    taxi = Gymnasium(config)
    starts = {}
    for split in ("train", "test"):
        tasks = taxi.tasks(split)
        starts[split] = [taxi.reset(task).text for task in tasks]
        assert len(set(starts[split])) == len(tasks)
    assert 200 < len(starts["train"]) < 500
    assert 50 < len(starts["test"]) <= 100
    assert not set(starts["train"]) & set(starts["test"])
    few = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI, split_by="start", train_tasks=3))
    assert few.tasks("train") == taxi.tasks("train")[:3]
    by_seed = Gymnasium(GymnasiumConfig("Taxi-v4", actions=TAXI))
    tested = [by_seed.reset(task).text for task in by_seed.tasks("test")]
    trained = {by_seed.reset(task).text for task in by_seed.tasks("train")}
    assert any(start in trained for start in tested)  # why there is split_by


def test_split_by_something_else() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, split_by="starts"))
    with pytest.raises(ConfigError, match=r"gymnasium: split_by is 'starts'.*mean 'start'"):
        lake.tasks("train")


def test_split_by_start_of_what_starts_alike() -> None:
    lake = Gymnasium(GymnasiumConfig("FrozenLake-v1", {}, WAYS, split_by="start"))
    with pytest.raises(ConfigError, match=r"start alike\. Use split_by: seed"):
        _ = lake.tasks("train"), lake.tasks("test")


def test_a_game_that_its_seed_leaves_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "walks_elsewhere", skip)
    cliff = GymnasiumConfig("CliffWalking-v1", actions=["up", "right", "down", "left"])
    (failed,) = contrail.check.check(Gymnasium, cliff, tasks=1).failed
    assert failed.check == "splits"
    assert "are one game" in failed.note
