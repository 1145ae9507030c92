"""Records of ALFWorld's games: damage is named before training, and losses are told."""

from __future__ import annotations

import itertools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("alfworld") is None:  # importing it would set ALFWORLD_DATA
    pytest.skip("needs pip install 'contrail[alfworld]'", allow_module_level=True)

from contrail.envs.alfworld.environment import AlfWorld, AlfWorldConfig
from contrail.errors import ConfigError

ODD_VALUES: list[Any] = [..., None, 1, 1.5, [], {}, "", float("nan"), [{"deep": [[]]}]]


PARAMS = {"object_target": "Mug", "parent_target": "Desk", "toggle_target": ""}


def changed(data: Path, file: Path, **values: object) -> None:
    """Write a game's file again with other values; `...` removes a key."""
    content = json.loads((data / file).read_text()) | values
    kept = {key: value for key, value in content.items() if value is not ...}
    (data / file).write_text(json.dumps(kept))


def games(path: Path, number: int = 3) -> list[Path]:
    """Small games that look like ALFWorld's own."""
    directories = []
    for place in range(number):
        name = f"pick_and_place_simple-{place}/trial_T{place}"
        directory = path / "json_2.1.1/valid_seen" / name
        directory.mkdir(parents=True)
        parts = {"pddl_domain": "(define (domain a))", "pddl_problem": "(define (problem b))"}
        game = parts | {"grammar": 'grammar :: """{}""";', "solvable": True}
        (directory / "game.tw-pddl").write_text(json.dumps(game))
        task = {"task_type": "pick_and_place_simple", "pddl_params": PARAMS}
        (directory / "traj_data.json").write_text(json.dumps(task))
        directories.append(directory)
    return directories


def listed(path: Path) -> AlfWorld:
    environment = AlfWorld(AlfWorldConfig(str(path), [], ["valid_seen"]))
    environment.tasks("test")
    return environment


GAME, TASK = "game.tw-pddl", "traj_data.json"
WRONG: list[tuple[str, str, Any]] = [
    *itertools.product([GAME], ["pddl_domain", "pddl_problem", "grammar"], ODD_VALUES),
    *itertools.product([GAME], ["solvable"], [1, "yes", [], None]),
    *itertools.product([TASK], ["task_type"], [None, 1, [], {}, ["a"], ...]),
    *itertools.product([TASK], ["pddl_params"], [None, 1, [], "", ...]),
    (TASK, "pddl_params", {**PARAMS, "object_target": ["Mug"]}),
    (TASK, "pddl_params", {**PARAMS, "object_target": None}),
    (TASK, "pddl_params", {"parent_target": "Desk", "toggle_target": ""}),
    (GAME, "pddl_problem", "(define (problem b)"),
    (GAME, "pddl_domain", "; (define"),
    (GAME, "grammar", 'grammar :: """{'),
]


@pytest.mark.parametrize(("file", "key", "odd"), WRONG)
def test_a_wrong_type_is_named(tmp_path: Path, file: str, key: str, odd: Any) -> None:
    directories = games(tmp_path)
    listed(tmp_path)
    changed(directories[1], Path(file), **{key: odd})
    inside = "object_target" if isinstance(odd, dict) and odd else key
    with pytest.raises(ConfigError, match=rf"trial_T1/{file} .*'{inside}'"):
        listed(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "", "{", "\x00", "[" * 500])
@pytest.mark.parametrize("file", ["game.tw-pddl", "traj_data.json"])
def test_what_is_no_object_is_named(tmp_path: Path, file: str, content: str) -> None:
    directories = games(tmp_path)
    (directories[2] / file).write_text(content)
    with pytest.raises(ConfigError, match=rf"trial_T2/{file}"):
        listed(tmp_path)


def test_damaged_games_are_counted(tmp_path: Path) -> None:
    directories = games(tmp_path, 5)
    for directory in directories[1:4]:
        changed(directory, Path("game.tw-pddl"), grammar=None)
    with pytest.raises(ConfigError, match=r"trial_T1/game.*'grammar' is null.*So are 2 more games"):
        listed(tmp_path)


def test_comments_may_hold_brackets(tmp_path: Path) -> None:
    changed(games(tmp_path)[0], Path("game.tw-pddl"), pddl_domain="(define ; :-)\n(domain a))")
    listed(tmp_path)


def test_the_notes_tell_what_is_left_out_and_why(tmp_path: Path) -> None:
    directories = games(tmp_path, 7)
    changed(directories[0], Path("game.tw-pddl"), solvable=False)
    changed(directories[1], Path("game.tw-pddl"), solvable=...)
    (directories[2] / "traj_data.json").unlink()
    changed(directories[3], Path("traj_data.json"), task_type="pick_and_place_with_movable_recep")
    for place, name in ((4, "pick_and_place_simple-KnifeSliced"), (5, "pick-movable")):
        directories[place].parent.rename(directories[place].parent.with_name(name))
    found = listed(tmp_path)
    assert [task.id[-8:] for task in found.tasks("test")] == ["trial_T6"]
    assert sorted(found.notes) == [
        "1 of 7 games in valid_seen left out: of types that are not in task_types",
        "1 of 7 games in valid_seen left out: without traj_data.json",
        "2 of 7 games in valid_seen left out: not marked as solvable",
        "2 of 7 games in valid_seen left out: with sliced or movable things, which ALFWorld's own "
        "loader leaves out",
    ]
