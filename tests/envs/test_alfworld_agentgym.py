"""ALFWorld with `like: agentgym`: its lists of games, and how it reads an action."""

from __future__ import annotations

import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("alfworld") is None:  # importing it would set ALFWORLD_DATA
    pytest.skip("needs pip install 'contrail[alfworld]'", allow_module_level=True)

from contrail import ConfigError
from contrail.envs.alfworld import AlfWorld, AlfWorldConfig
from contrail.envs.alfworld.agentgym import numbered_trials

SHARED = Path(__file__).parents[3] / "shared/data/alfworld"
TEST = "pick_and_place_simple-Pillow-None-ArmChair-321/trial_T20190908_104900_888704"  # 2423


def test_the_list_of_games() -> None:
    trials = numbered_trials()
    assert len(trials) == len(set(trials)) == 2620
    assert trials[0] == "20190907_174127_043461"
    assert trials[2420] == "20190908_143209_571893"
    assert trials[2423] == TEST[-len(trials[0]) :]


def test_generated_games_are_refused() -> None:
    with pytest.raises(ConfigError, match="alfworld-download"):
        AlfWorld(AlfWorldConfig(data="generated", like="agentgym"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One test game, and one to train on that is made of the same files."""
    found = sorted(SHARED.glob("valid_train_*.tar.xz"))
    if not found:
        pytest.skip(f"needs valid_train_*.tar.xz in {SHARED}")
    root = tmp_path_factory.mktemp("alfworld") / "json_2.1.1"
    train = root / "train/look_at_obj_in_light-AlarmClock-None-DeskLamp-301"
    with tarfile.open(found[0]) as archive:
        for member in archive.getmembers():
            if TEST in member.name and member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                text = content.read()
                for game in (root / "valid_train" / TEST, train / "trial_T20190907_174142_375532"):
                    game.mkdir(parents=True, exist_ok=True)
                    (game / Path(member.name).name).write_bytes(text)
    return root.parent


def test_games_and_actions(data: Path) -> None:
    environment = AlfWorld(AlfWorldConfig(data=str(data), like="agentgym"))
    test, train = environment.tasks("test"), environment.tasks("train")
    assert [task.id for task in test] == ["agentgym-2423"]
    assert [task.id for task in train] == ["agentgym-1"]
    assert test[0].difficulty == "pick_and_place_simple"
    assert environment.notes == [
        "199 of AgentGym's 200 games to test are missing",
        "2419 of AgentGym's 2420 games to train are missing",
    ]
    start = environment.reset(test[0])
    assert start.text.startswith("You are in the middle of a room.")
    assert "\nYour task is to: put some pillow on armchair." in start.text
    assert "\n\n" not in start.text
    assert environment.step(" look ").valid
    for other in ("Look", "`look`", "go to  bed 1", "move pillow 1 to armchair 1"):
        step = environment.step(other)
        assert not step.valid
        assert step.observation.text == "Nothing happens."
    environment.reset(test[0])
    for action in environment.expert(test[0]) or ():
        step = environment.step(action)
    assert step.success
    assert step.reward == 1
    for unknown in ("agentgym-2620", "agentgym-0", "valid_train/x"):
        with pytest.raises(ValueError, match=unknown):
            environment.reset(type(test[0])("alfworld", unknown, 0, "test"))
