"""ALFWorld: its own engine, on its own games where they are at hand, and on generated ones."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import random
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy
import pytest

if find_spec("alfworld") is None:  # importing it would set ALFWORLD_DATA
    pytest.skip("needs pip install 'contrail[alfworld]'", allow_module_level=True)

import fast_downward

from contrail import Task
from contrail.envs.alfworld.environment import TASK_TYPES, AlfWorld, AlfWorldConfig, plain
from contrail.envs.alfworld.expert import without_detours
from contrail.errors import ConfigError

GENERATED = AlfWorldConfig(data="generated")
SHARED = Path(__file__).parents[2] / "../shared/data/alfworld"
# Rooms with few receptacles: the engine's time grows with their number.
SMALL = {
    "pick_and_place_simple": 402,
    "look_at_obj_in_light": 304,
    "pick_clean_then_place_in_recep": 402,
    "pick_heat_then_place_in_recep": 4,
    "pick_cool_then_place_in_recep": 4,
    "pick_two_obj_and_place": 402,
}
ODD = [
    "",
    " ",
    "\n",
    "go",
    "go to",
    "put  in/on ",
    "dance",
    "x" * 1_000_000,
    "🪵 木",
    "\ud800",
    "%s",
]


def small(task_type: str) -> Task:
    return Task("alfworld", f"generated/{task_type}/FloorPlan{SMALL[task_type]}/0", 0, "test")


def digest() -> str:
    """All that a run sees of a task; computed in other processes too."""
    environment = AlfWorld(GENERATED)
    task = small("pick_clean_then_place_in_recep")
    seen: list[object] = [environment.reset(task)]
    seen += [(action, environment.step(action)) for action in environment.expert(task) or ()]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def other_grammar(action: str) -> str:
    if action.startswith("put "):
        return action.replace("put ", "move ").replace(" in/on ", " to ")
    if action.startswith("move "):
        return action.replace("move ", "put ").replace(" to ", " in/on ")
    return f"  {action.upper()} "


def wins(environment: AlfWorld, task: Task) -> bool:
    """Whether the expert's play, said in the other grammar, wins; at its last action only."""
    plan = environment.expert(task)
    assert plan is not None
    observation = environment.reset(task)
    steps = []
    for action in plan:
        assert observation.actions is not None
        assert action in observation.actions
        steps.append(environment.step(other_grammar(action)))
        observation = steps[-1].observation
    assert all(step.valid for step in steps)
    assert not any(step.success or step.terminated or step.reward for step in steps[:-1])
    return steps[-1].success and steps[-1].terminated and steps[-1].reward == 1


@pytest.fixture(scope="module")
def environment() -> AlfWorld:
    return AlfWorld(GENERATED)


def test_generated_tasks(environment: AlfWorld) -> None:
    train, test = environment.tasks("train"), environment.tasks("test")
    assert (len({task.id for task in train}), len({task.id for task in test})) == (500, 100)
    assert set(Counter(task.difficulty for task in train)) == set(TASK_TYPES)
    assert all(task.id.startswith("generated/") for task in train + test)
    rooms = [{task.id.split("/")[2] for task in tasks} for tasks in (train, test)]
    assert not rooms[0] & rooms[1]


def test_generated_games_in_rooms_of_training(environment: AlfWorld) -> None:
    """The two tests are columns of their own, and neither meets training, however long that is."""
    both = AlfWorld(AlfWorldConfig("generated", test_splits=["valid_seen", "valid_unseen"]))
    seen = AlfWorld(AlfWorldConfig("generated", test_splits=["valid_seen"], train_tasks=5000))
    train = {task.id for task in seen.tasks("train")}
    tests = seen.tasks("test")
    assert len(tests) == 100
    assert not {task.id for task in tests} & train
    rooms = {name.split("/")[2] for name in train}
    assert {task.id.split("/")[2] for task in tests} <= rooms
    assert not rooms & {task.id.split("/")[2] for task in environment.tasks("test")}
    assert both.tasks("test") == [*tests[:50], *environment.tasks("test")[:50]]
    assert seen.reset(tests[1]).actions
    with pytest.raises(ValueError, match="no task"):
        seen.reset(Task("alfworld", tests[1].id, tests[1].seed, "train"))


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_expert_wins_generated_games(environment: AlfWorld, task_type: str) -> None:
    assert wins(environment, small(task_type))
    over = environment.step("look")
    assert (over.reward, over.terminated, over.valid) == (0, True, False)


def test_games_side_by_side_do_not_disturb_each_other(environment: AlfWorld) -> None:
    tasks = [small("pick_and_place_simple"), small("look_at_obj_in_light")]
    plans = [environment.expert(task) or [] for task in tasks]
    alone = []
    for task, plan in zip(tasks, plans, strict=True):
        alone.append([environment.reset(task), *map(environment.step, plan)])
    pair = [AlfWorld(GENERATED), AlfWorld(GENERATED)]
    seen: list[list[object]] = [[one.reset(task)] for one, task in zip(pair, tasks, strict=True)]
    for turn in range(max(map(len, plans))):
        for one, plan, steps in zip(pair, plans, seen, strict=True):
            if turn < len(plan):
                steps.append(one.step(plan[turn]))
    assert seen == alone
    for one in pair:
        one.close()
        one.close()


def test_nonsense_changes_nothing(environment: AlfWorld) -> None:
    start = environment.reset(small("look_at_obj_in_light"))
    for action in ODD:
        step = environment.step(action)
        assert (step.valid, step.reward, step.terminated) == (False, 0, False)
        assert step.observation.text == "Nothing happens."
        assert step.observation.actions == start.actions
    assert start == environment.reset(small("look_at_obj_in_light"))


def test_the_process_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    code = (
        "import os, random, sys, numpy\n"
        "before = random.getstate(), repr(numpy.random.get_state()), list(sys.argv)\n"
        "from contrail.envs.alfworld.environment import AlfWorld\n"
        "environment = AlfWorld()\n"
        f"task = environment.tasks('test')[0]\n"
        f"task = type(task)('alfworld', {small('look_at_obj_in_light').id!r}, 0, 'test')\n"
        "environment.reset(task)\n"
        "environment.expert(task)\n"
        "assert 'ALFWORLD_DATA' not in os.environ\n"
        "assert before == (random.getstate(), repr(numpy.random.get_state()), sys.argv)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where translations are kept; there are none yet, in memory neither."""
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path / "cache"))
    engine()._translated.cache_clear()
    return tmp_path / "cache/alfworld"


def engine() -> ModuleType:
    return importlib.import_module("contrail.envs.alfworld.engine")


def stroll(environment: AlfWorld, task: Task) -> list[object]:
    """What the expert's play shows, and twelve random actions."""
    seen: list[object] = [environment.expert(task), environment.reset(task)]
    seen += [environment.step(action) for action in environment.expert(task) or ()]
    rng = random.Random(0)
    observation = environment.reset(task)
    for _ in range(12):
        step = environment.step(rng.choice(observation.actions or ["look"]))
        observation = step.observation
        seen.append(step)
    return seen


@pytest.mark.parametrize("task_type", ["pick_heat_then_place_in_recep", "pick_two_obj_and_place"])
def test_what_is_kept_and_copied_less_changes_nothing(
    environment: AlfWorld, cache: Path, monkeypatch: pytest.MonkeyPatch, task_type: str
) -> None:
    """textworld without contrail's changes shows the same, before and after translating."""
    import textworld.logic
    from textworld.envs.pddl import logic, textgen

    task, changed = small(task_type), engine()
    first = stroll(environment, task)
    assert len(list(cache.glob("*.json.gz"))) == 1
    with monkeypatch.context() as fresh:
        fresh.setattr(fast_downward, "pddl2sas", None)
        changed._translated.cache_clear()
        assert stroll(environment, task) == first
    monkeypatch.setattr(logic, "fast_downward", fast_downward)
    monkeypatch.setattr(logic, "_parse_and_convert", logic._parse_and_convert.__wrapped__)
    monkeypatch.setattr(textgen, "_parse_and_convert", changed._parse)
    monkeypatch.setattr(textgen, "deepcopy", copy.deepcopy)
    monkeypatch.setattr(textgen, "Rule", textworld.logic.Rule)
    assert stroll(environment, task) == first


@pytest.mark.parametrize("damage", ["cut", "other", "folder"])
def test_a_damaged_translation_is_made_again(
    environment: AlfWorld, cache: Path, damage: str
) -> None:
    task = small("look_at_obj_in_light")
    start = environment.reset(task)
    (file,) = cache.glob("*.json.gz")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-9])
    elif damage == "other":  # another game's
        environment.reset(small("pick_and_place_simple"))
        (other,) = set(cache.glob("*.json.gz")) - {file}
        shutil.copy(other, file)
    else:
        shutil.rmtree(cache)
        cache.touch()
    engine()._translated.cache_clear()
    assert environment.reset(task) == start


def test_detours_are_left_out() -> None:
    play = ["look", "go to drawer 1", "open drawer 1", "close drawer 1", "go to shelf 1", "look"]
    play += ["go to safe 1", "open safe 1", "go to desk 1", "take pen 1 from desk 1"]
    play += ["go to safe 1", "put pen 1 in/on safe 1"]
    assert without_detours(play) == play[6:]


def test_both_grammars() -> None:
    wanted = "put apple 1 in/on fridge 1"
    for action in (
        "put apple 1 in/on fridge 1",
        "move apple 1 to fridge 1",
        "Put apple 1 in fridge 1",
    ):
        assert plain(action) == wanted
    assert plain("go to fridge 1") == "go to fridge 1"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AlfWorldConfig(data="/nowhere"), "no games in /nowhere.*alfworld-download"),
        (AlfWorldConfig(data="generated", task_types=["pick"]), "no task type 'pick'"),
        (AlfWorldConfig(data="generated", task_types=[]), "task_types is empty"),
        (AlfWorldConfig(data="generated", test_splits=["train"]), "train is in both"),
        (AlfWorldConfig(data="generated", test_splits=[]), "test_splits is empty"),
        (AlfWorldConfig(data="generated", test_splits=["seen"]), "mean 'valid_seen'"),
    ],
)
def test_bad_config_is_refused(config: AlfWorldConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlfWorld(config)


def test_unknown_split_and_task(environment: AlfWorld) -> None:
    with pytest.raises(ConfigError, match="train"):
        environment.tasks("trian")
    for name in ("moon", "generated/pick_and_place_simple/FloorPlan7/0", "valid_seen/a/b"):
        with pytest.raises(ValueError, match="no task"):
            environment.reset(Task("alfworld", name, 0, "test"))


# ALFWorld's own games.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the games, as they lie after alfworld-download."""
    root = tmp_path_factory.mktemp("alfworld")
    wanted = {"valid_seen": 3, "valid_train": 2}
    for split, number in wanted.items():
        found = sorted(SHARED.glob(f"{split}_*.tar.xz"))
        if not found:
            pytest.skip(f"needs {split}_*.tar.xz in {SHARED}")
        with tarfile.open(found[0]) as archive:
            members = [member for member in archive if member.isfile()]
            for place in range(number):
                start = 2 * (place * 17)
                archive.extractall(root, members[start : start + 2], filter="data")
    return root


@pytest.fixture
def own(data: Path) -> AlfWorld:
    return AlfWorld(AlfWorldConfig(str(data), ["valid_train"], ["valid_seen"]))


def test_own_games_are_listed(own: AlfWorld, data: Path) -> None:
    assert [len(own.tasks(split)) for split in ("train", "test")] == [2, 3]
    for task in own.tasks("test"):
        assert (data / "json_2.1.1" / task.id / "game.tw-pddl").exists()
        assert task.id.split("/")[1].startswith(f"{task.difficulty}-")


def test_the_expert_wins_own_games(own: AlfWorld) -> None:
    assert all(wins(own, task) for task in own.tasks("test"))


def test_own_games_say_put(own: AlfWorld) -> None:
    task = own.tasks("test")[0]
    own.reset(task)
    texts = [own.step(action).observation.text for action in own.expert(task) or ()]
    assert not any("loc " in text for text in texts)
    assert "help" not in (own.reset(task).actions or ())


def test_the_variable_names_the_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    seen = AlfWorldConfig(test_splits=["valid_seen"])
    assert len(AlfWorld(seen).tasks("test")) == 3
    with pytest.raises(ConfigError, match=r"no games of train.*valid_train, valid_seen"):
        AlfWorld().tasks("train")
    with pytest.raises(ConfigError, match=r"no games of valid_unseen.*valid_train, valid_seen"):
        AlfWorld().tasks("test")
    assert AlfWorld(GENERATED).tasks("test")[0].id.startswith("generated/")


def test_no_game_of_the_task_types(own: AlfWorld, data: Path) -> None:
    there = {str(task.difficulty) for task in own.tasks("test")}
    other = next(name for name in TASK_TYPES if name not in there)
    none = AlfWorld(AlfWorldConfig(str(data), [], ["valid_seen"], [other]))
    with pytest.raises(
        ConfigError, match=rf"task_types \({other}\).* has 3 games, of {min(there)}"
    ):
        none.tasks("test")


@pytest.mark.parametrize("damage", ["cut", "empty", "no grammar"])
def test_a_damaged_file_is_named(own: AlfWorld, data: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(data, tmp_path / "copy")
    game = tmp_path / "copy/json_2.1.1" / own.tasks("test")[0].id / "game.tw-pddl"
    content = game.read_text()
    if damage == "no grammar":
        kept = {key: value for key, value in json.loads(content).items() if key != "grammar"}
        game.write_text(json.dumps(kept))
    else:
        game.write_text(content[: len(content) // 2] if damage == "cut" else "")
    with pytest.raises(ConfigError, match=r"trial_.*game\.tw-pddl"):
        AlfWorld(AlfWorldConfig(str(tmp_path / "copy"), [], ["valid_seen"])).tasks("test")


@pytest.mark.parametrize("part", ["pddl_problem", "pddl_domain", "grammar"])
def test_a_damaged_game_is_a_fault(own: AlfWorld, data: Path, tmp_path: Path, part: str) -> None:
    shutil.copytree(data, tmp_path / "copy")
    task = own.tasks("test")[0]
    game = tmp_path / "copy/json_2.1.1" / task.id / "game.tw-pddl"
    content = json.loads(game.read_text())
    game.write_text(json.dumps({**content, part: content[part][: len(content[part]) // 2]}))
    damaged = AlfWorld(AlfWorldConfig(str(tmp_path / "copy"), [], ["valid_seen"]))
    with pytest.raises(ValueError, match=r"valid_seen.*not a playable game"):
        damaged.reset(task)
    assert damaged.reset(own.tasks("test")[1]).actions


def test_random_states_stay() -> None:
    before = random.getstate(), repr(numpy.random.get_state())  # noqa: NPY002
    digest()
    assert before == (random.getstate(), repr(numpy.random.get_state()))  # noqa: NPY002
