"""The commands that list what is registered, global options, and completion."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from commands import Command, Done

from contrail.config.document import keys_of, summary
from contrail.registry.plugins import Plugins, load_plugins

KINDS = ["strategies", "adapters", "models"]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_names_all_that_is_registered(command: Command, plugins: Plugins, kind: str) -> None:
    done = command(kind)
    assert done.code == 0
    for name in getattr(plugins, kind):
        assert name in done.out


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in getattr(load_plugins(), kind)]
)
def test_one_entry_shows_its_description_and_keys(
    command: Command, plugins: Plugins, kind: str, name: str
) -> None:
    entry = getattr(plugins, kind)[name]
    done = command(kind, name)
    assert done.code == 0
    assert f"of the plugin {entry.plugin}" in done.out
    assert summary(entry.value).split()[0] in done.out
    if kind != "models":
        for field in dataclasses.fields(entry.value.Config):
            assert field.name in done.out


def test_every_key_of_what_ships_has_a_meaning(plugins: Plugins) -> None:
    for table in (plugins.environments, plugins.adapters, plugins.strategies):
        for name in table:
            assert summary(table[name].value), name
            for key in keys_of(table[name].value.Config):
                assert key.meaning.endswith("."), (name, key.name)


def test_an_environment_by_name_shows_its_keys(command: Command) -> None:
    done = command("environments", "textcraft", "depths=[1]")
    assert done.code == 0
    for word in ("depths", "a list (of a whole number)", "[1, 2, 3, 4]", "layers of crafting"):
        assert word in done.out


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_refused(command: Command, kind: str) -> None:
    done = command(kind, "nowhere")
    assert done.code == 2
    assert "'nowhere'" in done.err
    assert "Known: " in done.err


class Bare:
    pass


@dataclasses.dataclass
class Undocumented:
    count: int = 3


def test_what_has_no_docstring_has_no_description() -> None:
    assert summary(Bare) == ""
    assert summary(Undocumented) == ""
    (key,) = keys_of(Undocumented)
    assert (key.name, key.type, key.default, key.meaning) == ("count", "a whole number", "3", "")


def test_a_class_without_source_has_no_meanings() -> None:
    cls = dataclasses.make_dataclass("Made", [("count", int, dataclasses.field(default=1))])
    assert [key.meaning for key in keys_of(cls)] == [""]


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["strategies", "-h"]])
def test_h_is_help(command: Command, arguments: list[str]) -> None:
    short = command(*arguments)
    assert short.code == 0
    assert short == command(*arguments[:-1], "--help")


def test_completion(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in command("--help").out
    monkeypatch.setenv("_CONTRAIL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "contrail stra")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = command()
    assert (done.code, done.out, done.err) == (0, "strategies\n", "")


# --debug

BROKEN = """
import contrail

class World(contrail.Environment):
    def tasks(self, split):
        return [contrail.Task("world", split, 0, split)]
    def reset(self, task):
        return hidden_fault()
    def step(self, action):
        ...

def hidden_fault():
    raise ValueError("broken")

@contrail.hookimpl
def contrail_environments(register):
    register("world", World)
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CONTRAIL_DEBUG", raising=False)
    path = tmp_path / "world.py"
    path.write_text(BROKEN)
    return path


def one_line(done: Done) -> None:
    assert done.code == 2
    assert "Traceback" not in done.err


def test_debug_prints_the_traceback_of_a_plugin(
    command: Command, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_line(command("play", world))
    monkeypatch.setenv("CONTRAIL_DEBUG", "")  # for its restoration afterwards
    done = command("--debug", "play", world)
    assert done.code == 2
    assert done.err.count("Traceback") == 1
    assert "in hidden_fault" in done.err
    assert done.err.rstrip().splitlines()[-1].startswith("error: environment 'world'")


def test_debug_reaches_worker_processes(
    world: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from contrail.workers.factory import EnvironmentFactory
    from contrail.workers.pool import EnvironmentPool

    plugins = Plugins()
    plugins.add_named(str(world), Path.cwd())
    factory = EnvironmentFactory("world", plugins.environments["world"], workers=1)
    monkeypatch.setenv("CONTRAIL_DEBUG", "1")
    pool = EnvironmentPool({"world": factory})
    try:
        environment = pool.take("world")
        with pytest.raises(Exception, match="broken"):
            environment.reset(environment.tasks("train")[0])
        pool.give("world", environment)
    finally:
        pool.close()
    assert "in hidden_fault" in capfd.readouterr().err


# play


def test_play_with_settings(command: Command) -> None:
    done = command("play", "babyai", "levels=[GoToObj]", "max_turns=2", typed="turn left\n" * 2)
    assert done.code == 0
    assert "task GoToObj-v0/" in done.out
    assert "the limit is 2 turns" in done.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["levels"], "KEY=VALUE"),
        (["level=[GoToObj]"], "'levels'"),
        (["--expert", "--policy", "tiny-random"], "choose one"),
        (["--policy", "tiny-random", "--task", "none"], "no such task"),
        (["--policy", "tiny-randm"], "'tiny-random'"),
    ],
)
def test_play_refuses(command: Command, arguments: list[str], word: str) -> None:
    done = command("play", "babyai", *arguments)
    assert done.code == 2
    assert word in done.err


def test_a_policy_plays(command: Command) -> None:
    arguments = ("play", "babyai", "levels=[GoToObj]", "max_turns=3", "--policy", "tiny-random")
    done = command(*arguments)
    assert done.code == 0
    assert "Your goal" in done.out
    assert "probability" in done.out
    assert "reward" in done.out
    assert command(*arguments).out == done.out
    free = command(*arguments, "--adapter", "react")
    assert "mean probability per token" in free.out
