"""Games of TextWorldExpress in Java machines."""

from __future__ import annotations

import shutil

import psutil
import pytest
from checked import passes

from contrail.envs.textworld_express.environment import TextWorldExpress, TextWorldExpressConfig
from contrail.errors import ConfigError, ContrailError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


@pytest.fixture
def _twx() -> None:
    pytest.importorskip("textworld_express")
    if shutil.which("java") is None:
        pytest.skip("needs Java")


@pytest.mark.usefixtures("_twx", "few_checked")
def test_a_game_that_would_disturb_another_in_one_java_machine() -> None:
    passes(TextWorldExpress, TextWorldExpressConfig(game="sorting"), set())


@pytest.mark.usefixtures("_twx")
def test_a_lost_game_is_no_success() -> None:
    world = TextWorldExpress(TextWorldExpressConfig(game="sorting"))
    try:
        task = world.tasks("train")[0]
        plan = world.expert(task)
        assert plan is not None
        observation = world.reset(task)
        assert observation.text.startswith("Your task is to sort")
        for action in plan[-2:]:  # the largest goes first: wrong
            step = world.step(action)
        assert (step.terminated, step.success) == (True, False)
    finally:
        world.close()


@pytest.mark.usefixtures("_twx")
def test_refused_settings_leave_no_java() -> None:
    before = len(psutil.Process().children())
    for settings in (
        {"game": "con"},
        {"params": "numRooms=1"},
        {"params": "garbage"},
        {"params": "numLocations=many"},
        {"train_tasks": 0},
    ):
        with pytest.raises(ConfigError):
            TextWorldExpress(TextWorldExpressConfig(**settings))
    assert len(psutil.Process().children()) == before


def test_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ContrailError, match=r"needs Java, .* Install a Java runtime"):
        TextWorldExpress()
