"""Baselines are played once: the cache, its keys, and what damages it."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from doors import Doors, measure, success

from contrail import Observation, Task
from contrail.baselines import cache
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.registry.plugins import load_plugins


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path))
    return tmp_path / "baselines"


def test_it_is_played_once(place: Path) -> None:
    first = measure(Doors)
    before = Doors.played
    assert measure(Doors) == first
    assert Doors.played == before
    assert len(list(place.iterdir())) == 4
    for change in (
        {"max_turns": 2},
        {"samples": 3},
        {"label": "that"},
        {"adapter": React()},
        {"adapter": React(ReactConfig(list_actions=False))},
        {"settings": ReactConfig()},
    ):
        before = Doors.played
        measure(Doors, ["random"], **change)
        assert Doors.played > before, change


def test_undefined_is_kept_too() -> None:
    class Silent(Doors):
        def reset(self, task: Task) -> Observation:
            type(self).played += 1
            return Observation("")

    assert measure(Silent, ["random"])["random"] is None
    before = Silent.played
    assert measure(Silent, ["random"])["random"] is None
    assert Silent.played == before


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", "\0" * 9, '{"key": "other"}', "SCORES", "FIELD"],
)
def test_a_damaged_entry_is_made_again(damage: str, place: Path) -> None:
    first = measure(Doors, ["random"])
    (file,) = place.iterdir()
    content = json.loads(file.read_text())
    if damage == "SCORES":
        content["baseline"]["success"] = 0.9
        damage = json.dumps(content)
    elif damage == "FIELD":
        del content["baseline"]["samples"]
        damage = json.dumps(content)
    file.write_text(damage)
    before = Doors.played
    assert measure(Doors, ["random"]) == first
    assert Doors.played > before
    before = Doors.played
    assert measure(Doors, ["random"]) == first
    assert Doors.played == before


def test_old_entries_make_room(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT", 2)
    measure(Doors, ["random"])
    (oldest,) = place.iterdir()
    os.utime(oldest, (0, 0))
    measure(Doors, ["words", "expert"])
    assert len(list(place.iterdir())) == 2
    assert not oldest.exists()


def test_a_cache_that_cannot_be_written_costs_playing_again(place: Path) -> None:
    place.write_text("a file")
    first = measure(Doors, ["random"])
    before = Doors.played
    assert measure(Doors, ["random"]) == first
    assert Doors.played > before


def test_a_plugin_file_that_has_changed_is_played_again(tmp_path: Path) -> None:
    text = """
import contrail

class It(contrail.Environment):
    max_turns = 1
    def tasks(self, split):
        return [contrail.Task("it", f"{split}/{n}", n, split) for n in range(4)]
    def reset(self, task):
        return contrail.Observation("", ["a"])
    def step(self, action):
        return contrail.Step(contrail.Observation(""), terminated=True, success=WON)

@contrail.hookimpl
def contrail_environments(register):
    register("it", It)
"""
    for won in (True, False):
        file = tmp_path / "plugin.py"
        file.write_text(text.replace("WON", str(won)))
        plugins = load_plugins([str(file)])
        found = measure(plugins.environments["it"].value, ["random"])
        assert success(found["random"]) == won


def test_files_that_settings_name_are_part_of_the_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    before = cache._stamped({"data": str(data)})
    (data / "goals.json").write_text("[]")
    assert cache._stamped({"data": str(data)}) != before
    assert cache._stamped({"id": "owner/none-such", "n": [1]}) == {
        "id": "owner/none-such",
        "n": [1],
    }


def test_a_file_without_a_folder_is_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "goals.json").write_text("[]")
    before = cache._stamped({"data": "goals.json"})
    (tmp_path / "goals.json").write_text("[1, 2]")
    assert cache._stamped({"data": "goals.json"}) != before


@dataclass
class Named:
    """Settings with one word."""

    name: str = ""


@pytest.mark.parametrize("url", ["http://localhost:8000", "wss://games.example"])
def test_what_a_server_plays_is_not_kept(url: str, place: Path) -> None:
    for _ in range(2):
        before = Doors.played
        assert measure(Doors, ["random"], settings=Named(url))["random"] is not None
        assert Doors.played > before
    assert not place.exists()


@pytest.mark.parametrize("form", ["some_games", "some-games", "some_games:Door-v0", "games.doors"])
def test_code_that_settings_name_is_part_of_the_key(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    (code / "games").mkdir(parents=True)
    (code / "games" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(code)
    file = code / ("games/doors.py" if "." in form else "some_games.py")
    for text in ("PRIZE = 1", "PRIZE = 2"):
        file.write_text(text)
        importlib.invalidate_caches()
        before = Doors.played
        measure(Doors, ["random"], settings=Named(form))
        assert Doors.played > before
    before = Doors.played
    measure(Doors, ["random"], settings=Named(form))
    assert Doors.played == before
