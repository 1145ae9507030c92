"""Games that TextWorld makes, and game files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from checked import passes

from contrail.config import build
from contrail.envs.textworld.environment import TextWorld, TextWorldConfig
from contrail.errors import ConfigError

pytest.importorskip("textworld", reason="needs pip install 'contrail[textworld]'")


def make(**settings: Any) -> TextWorld:
    return TextWorld(build(TextWorldConfig, settings))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A cache of its own, with the games that several tests play."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("CONTRAIL_CACHE", str(directory))
        yield directory


@pytest.mark.slow
def test_a_game_is_made_once_and_won_by_its_walkthrough(cache: Path) -> None:
    world = make(challenge="treasure_hunter", params={"level": 3})
    task = world.tasks("train")[0]
    first = world.reset(task)
    (game,) = cache.rglob("game.z8")
    made = game.stat().st_mtime_ns
    assert "$" not in first.text  # TextWorld's title
    assert "-= " in first.text
    assert first.text.index("-= ") > 0  # the goal stands before it
    plan = world.expert(task)
    assert plan
    total = 0.0
    seen = first
    for action in plan:
        assert seen.actions is not None
        assert action in seen.actions
        step = world.step(action.upper() + ".")
        seen, total = step.observation, total + step.reward
    assert (step.success, step.terminated, total) == (True, True, 1.0)
    assert step.info == {"score": 1.0}
    assert not world.step("look").valid
    assert world.reset(task) == first
    world.close()
    again = make(challenge="treasure_hunter", params={"level": 3})
    assert again.reset(task) == first
    assert game.stat().st_mtime_ns == made
    again.close()


@pytest.mark.slow
def test_the_interpreter_is_out_of_reach(cache: Path, tmp_path: Path) -> None:
    world = make(challenge="treasure_hunter", params={"level": 3})
    start = world.reset(world.tasks("train")[0])
    for text in ("quit", "UNDO", "restart", "save", "transcript on", "script", "", "look. look"):
        step = world.step(text)
        assert (step.valid, step.terminated) == (False, False), text
        assert step.observation.actions == start.actions
    unknown = world.step("xyzzy")
    assert (unknown.valid, unknown.observation.text) == (False, "That's not a verb I recognise.")
    world.step("".join(map(chr, range(32))) + "\x7f\x9b")  # keys that would record, or crash it
    assert world.step("look").valid
    world.close()


@pytest.mark.slow
def test_a_made_game_keeps_the_contract(cache: Path) -> None:
    settings = {"challenge": "treasure_hunter", "params": {"level": 3}}
    passes(TextWorld, build(TextWorldConfig, settings), set())


@pytest.mark.slow
def test_game_files_by_folder_and_by_hash(cache: Path, tmp_path: Path) -> None:
    world = make(challenge="treasure_hunter", params={"level": 3})
    for task in (*world.tasks("train")[:2], *world.tasks("test")[:1]):
        world.reset(task)
    world.close()
    files = sorted(cache.rglob("game.z8"))[:3]
    for place, (name, file) in enumerate(zip(("train", "train", "valid"), files, strict=True)):
        for source in (file, file.with_suffix(".json")):
            target = tmp_path / "games" / name / f"{place}{source.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    own = make(data=str(tmp_path / "games"))
    ids = {split: [task.id for task in own.tasks(split)] for split in ("train", "test")}
    assert ids == {"train": ["train/0.z8", "train/1.z8"], "test": ["valid/2.z8"]}
    task = own.tasks("test")[0]
    plan = own.expert(task)
    assert plan
    own.reset(task)
    assert [own.step(action) for action in plan][-1].success
    # Without its description a game lists nothing, and has no expert.
    (tmp_path / "games" / "valid" / "2.json").unlink()
    own.close()
    bare = make(data=str(tmp_path / "games"))
    assert bare.reset(task).actions is None
    assert bare.expert(task) is None
    assert bare.step("look").valid
    bare.close()
    with pytest.raises(ConfigError, match=r"no game for the split 'train'"):
        make(data=str(tmp_path / "games" / "valid" / "nothing"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"challenge": "coin_colector"}, "Did you mean 'coin_collector'"),
        ({"params": {"level": "far"}}, "--level"),
        ({"params": {"levels": 3}}, "--level"),
        ({"challenge": "cooking", "params": {"go": 5}}, "--go"),
    ],
)
def test_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(**settings)
    assert words in str(error.value)


def test_options_of_tw_make() -> None:
    world = make(challenge="cooking", params={"cook": False, "recipe_seed": 3})
    assert world._settings["recipe_seed"] == 3
    assert (world._settings["cook"], world._settings["open"], world._settings["go"]) == (
        False,
        True,
        1,
    )
