"""`contrail environments --search`: all that can be played, by words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import Command

from contrail.cli.search import Hit, find
from contrail.config import build
from contrail.environment import Environment
from contrail.registry.plugins import load_plugins
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory

PLUGIN = """
import contrail

class Worlds(contrail.Environment):
    '''Many small worlds.'''

    @classmethod
    def catalogue(cls):
        {catalogue}

    def tasks(self, split):
        return []
    def reset(self, task):
        ...
    def step(self, action):
        ...

@contrail.hookimpl
def contrail_environments(register):
    register("worlds", Worlds)
"""


@pytest.fixture
def worlds(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(catalogue: str) -> Path:
        path = tmp_path / "worlds.py"
        path.write_text(PLUGIN.format(catalogue=catalogue))
        return path

    return write


def test_a_plugin_takes_part(command: Command, worlds) -> None:  # type: ignore[no-untyped-def]
    path = worlds(
        "yield {'id': 'A: b', 'size': 3}, 'A world\\n of Cats.'; yield {'id': 'no'}, 'Of dogs.'"
    )
    done = command("environments", path, "--search", "CATS world")
    assert (done.code, done.err) == (0, "")
    (line,) = done.out.splitlines()
    assert yaml.safe_load(line) == [{"environment": {"name": "worlds", "id": "A: b", "size": 3}}]
    assert line.endswith("# A world of Cats.")
    all_of_it = command("environments", path, "--search", "worlds", "--json")
    hits = json.loads(all_of_it.out)["hits"]
    assert [hit["settings"].get("id") for hit in hits] == [None, "A: b", "no"]
    nothing = command("environments", path, "--search", "cats dogs")
    assert nothing.out == "Nothing has the words 'cats dogs'.\n"


@pytest.mark.parametrize(
    ("catalogue", "words"),
    [
        ("import not_there", ["No module named 'not_there'", "pip install 'contrail[worlds]'"]),
        ("raise ValueError('broken')", ["plugin", "catalogue", "ValueError: broken"]),
        ("yield {'id': object()}, 'A thing.'", ["plugin", "catalogue", "cannot represent"]),
        ("yield {'id': 'a'}, 3", ["plugin", "catalogue", "int"]),
    ],
)
def test_what_cannot_be_listed_is_named(
    command: Command,
    worlds,  # type: ignore[no-untyped-def]
    catalogue: str,
    words: list[str],
) -> None:
    done = command("environments", worlds(catalogue), "--search", "many")
    assert done.code == 0
    first, *rest = done.out.splitlines()
    assert first.startswith("- environment: worlds ")  # it is found by its own description
    for word in words:
        assert word in " ".join(rest)


def makers() -> list[EnvironmentFactory]:
    plugins = load_plugins()
    return [EnvironmentFactory(name, plugins.environments[name]) for name in plugins.environments]


def test_every_game_that_is_listed_has_settings_that_its_environment_takes() -> None:
    found = find("", makers())
    classes = {make.name: make.registered.value for make in makers()}
    assert {hit.environment for hit in found.hits} == set(classes)
    games = [hit for hit in found.hits if hit.settings]
    assert len(games) > 100
    for hit in games:
        build(classes[hit.environment].Config, hit.settings)  # refuses unknown keys and types
        assert hit.description, hit


class Plain(Environment):
    """Nothing to list."""

    def tasks(self, split):  # type: ignore[no-untyped-def]
        return []

    reset = step = tasks  # type: ignore[assignment]


def test_an_environment_without_a_catalogue_is_found_by_its_name() -> None:
    found = find("pla nothing", [EnvironmentFactory("plain", Registered(Plain, "here"))])
    assert found.hits == [Hit("plain", {}, "Nothing to list.")]
    assert found.hits[0].entry == "- environment: plain"
    assert found.missing == {}
