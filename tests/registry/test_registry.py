"""The manager: what it loads, what it refuses, and that it names the plugin at fault."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from types import ModuleType

import pytest

import contrail
from contrail.errors import ConfigError, PluginError
from contrail.registry.plugins import Plugins, load_plugins

ENVIRONMENT = """
import contrail

class World(contrail.Environment):
    def tasks(self, split): return []
    def reset(self, task): ...
    def step(self, action): ...

@contrail.hookimpl
def contrail_environments(register):
    register("{name}", World)
"""


@pytest.fixture
def plugins() -> Plugins:
    """A manager without any plugin."""
    return Plugins()


def write(directory: Path, name: str, text: str) -> str:
    (directory / name).write_text(text)
    return name


def entry(value: str, name: str = "other") -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, "contrail")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Besides contrail's own, the plugin "other" of another package is installed."""
    write(tmp_path, "other_package.py", ENVIRONMENT.format(name="other-world"))
    monkeypatch.syspath_prepend(str(tmp_path))
    own = importlib.metadata.entry_points(group="contrail")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [*own, entry("other_package")]
    )


def names(plugins: Plugins) -> set[str]:
    return {plugin.name for plugin in plugins.info()}


def test_everything_that_ships_is_a_plugin() -> None:
    plugins = load_plugins()
    assert {"babyai", "textcraft"} <= set(plugins.environments)
    assert {"choose", "react"} <= set(plugins.adapters)
    assert {"sequential"} <= set(plugins.strategies)
    assert {"smollm2-135m", "tiny-random"} <= set(plugins.models)
    for plugin in plugins.info():
        assert plugin.version == contrail.__version__
        assert plugin.hooks


def test_the_core_imports_no_plugin() -> None:
    core = Path(contrail.__file__).parent
    imported = re.compile(r"(from|import) contrail\.(envs|plugins|strategies)\b")
    assert not [path for path in core.rglob("*.py") if imported.search(path.read_text())]


def test_an_installed_plugin_of_another_package(other: None) -> None:
    plugins = load_plugins()
    assert plugins.environments["other-world"].plugin == "other"


@pytest.mark.parametrize(("value", "loaded"), [("", False), ("other", True), (" other , ", True)])
def test_CONTRAIL_PLUGINS(
    other: None, monkeypatch: pytest.MonkeyPatch, value: str, loaded: bool
) -> None:
    monkeypatch.setenv("CONTRAIL_PLUGINS", value)
    assert ("other" in names(load_plugins())) == loaded
    assert "babyai" in names(load_plugins())


def test_CONTRAIL_PLUGINS_with_an_unknown_name(
    other: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTRAIL_PLUGINS", "othr")
    with pytest.raises(PluginError, match=r"'othr', which is not installed. Did you mean 'other'"):
        load_plugins()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"plugin 'bad' \(.*bad\.py\) implements no hook\. Decorate a function"),
        ("def contrail_environments(register): ...", "implements no hook"),
        ("x = 1 / 0", r"plugin .* cannot be imported: ZeroDivisionError: .*; .*bad\.py line 1"),
        ("raise SystemExit(0)", r"plugin .* cannot be imported: SystemExit: 0; .*bad\.py line 1"),
        ("\ndef f(:", r"cannot be imported: SyntaxError: .*; .*bad\.py line 2"),
        ("import nowhere_at_all", r"cannot be imported: ModuleNotFoundError: .*nowhere_at_all"),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_run_begin(run): ...",
            r"plugin 'bad' \(.*bad\.py\): there is no hook contrail_run_begin\. Did you mean ",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_enviroments(register): ...",
            r"bad\.py\): there is no hook contrail_enviroments\. Did you mean "
            "'contrail_environments'",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_run_start(runn): ...",
            r"plugin 'bad'.*runn",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_metrics(register): return [1]",
            r"contrail_metrics returns \[1\] and registers nothing\. Call `register` in it",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_strategies(): ...",
            r"plugin 'bad' \(.*bad\.py\): contrail_strategies\(\) registers nothing: it needs",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_metrics(): ...",
            r"contrail_metrics\(\) registers nothing",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_environments(register):\n"
            "    register('x', contrail.Environment)",
            "plugin 'bad' registers the environment 'x', whose class Environment does not define "
            "reset, step, tasks",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_environments(register):\n"
            "    register('x', contrail.Strategy)",
            r"plugin 'bad' registers .* as the environment 'x': register a subclass of "
            r"contrail\.Environment",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_strategies(register):\n"
            "    register('x', contrail.Strategy())",
            r"the class itself, not an instance",
        ),
        (
            "import contrail\n@contrail.hookimpl\ndef contrail_environments(register):\n    1 / 0",
            r"plugin 'bad' raised in contrail_environments: ZeroDivisionError: .*bad\.py line 4",
        ),
    ],
)
def test_a_bad_plugin_is_named(plugins: Plugins, tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "bad.py", text)
    with pytest.raises(PluginError, match=message):
        plugins.add_named("bad.py", tmp_path)


def test_a_taken_name_stays_with_the_first(plugins: Plugins, tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        write(tmp_path, name, ENVIRONMENT.format(name="world"))
    plugins.add_named("one.py", tmp_path)
    message = "plugin 'two' registers the environment 'world', but plugin 'one' already has"
    with pytest.raises(PluginError, match=message):
        plugins.add_named("two.py", tmp_path)
    assert plugins.environments["world"].plugin == "one"


def test_two_plugins_of_one_name(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path, "same.py", ENVIRONMENT.format(name="one"))
    write(tmp_path / "below", "same.py", ENVIRONMENT.format(name="two"))
    plugins.add_named("same.py", tmp_path)
    message = r"two plugins are called 'same': .*/same\.py and .*/below/same\.py\. Rename one"
    with pytest.raises(PluginError, match=message):
        plugins.add_named("below/same.py", tmp_path)


def test_a_missing_file_has_a_neighbour(plugins: Plugins, tmp_path: Path) -> None:
    write(tmp_path, "guess.py", "")
    with pytest.raises(PluginError, match=r"gess\.py does not exist\. Did you mean 'guess\.py'"):
        plugins.add_named("gess.py", tmp_path)
    with pytest.raises(PluginError, match=r"does not exist\. There is no \.py file beside it"):
        plugins.add_named("nowhere/guess.py", tmp_path)


def test_a_plugin_file_shadows_no_module(plugins: Plugins, tmp_path: Path) -> None:
    write(tmp_path, "json.py", ENVIRONMENT.format(name="world"))
    plugins.add_named("json.py", tmp_path)
    import json

    assert json.loads("1") == 1
    assert plugins.environments["world"].plugin == "json"


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    plugins = load_plugins()
    for table, wrong, right in [
        (plugins.environments, "babyia", "babyai"),
        (plugins.adapters, "chose", "choose"),
        (plugins.strategies, "sequental", "sequential"),
        (plugins.models, "tiny", "tiny-random"),
    ]:
        with pytest.raises(ConfigError, match=f"no {table.kind} is called '{wrong}'.*'{right}'"):
            table[wrong]


def test_a_hook_that_raises_during_a_run_is_blamed(plugins: Plugins) -> None:
    def contrail_update(run: object, scalars: object) -> None:
        raise KeyError("loss")

    module = ModuleType("tracker")
    module.contrail_update = contrail.hookimpl(contrail_update)  # type: ignore[attr-defined]
    plugins.add(module, "tracker", source=__file__)
    message = r"plugin 'tracker' raised in contrail_update: KeyError: 'loss'; .*test_registry\.py"
    with pytest.raises(PluginError, match=message):
        plugins.hook.contrail_update(run=None, scalars={})


def test_an_interruption_is_nobodys_fault(plugins: Plugins) -> None:
    def contrail_update(run: object, scalars: object) -> None:
        raise KeyboardInterrupt

    module = ModuleType("tracker")
    module.contrail_update = contrail.hookimpl(contrail_update)  # type: ignore[attr-defined]
    plugins.add(module, "tracker")
    with pytest.raises(KeyboardInterrupt):
        plugins.hook.contrail_update(run=None, scalars={})


@pytest.mark.parametrize(
    ("line", "helped"),
    [
        ("import helper_of_mine", True),
        ("from helper_of_mine import something", True),
        ("from . import helper_of_mine", True),
        ("import nowhere_to_be_found", False),
    ],
)
def test_a_plugin_file_that_imports_the_file_beside_it(
    tmp_path: Path, line: str, helped: bool
) -> None:
    (tmp_path / "helper_of_mine.py").write_text("something = 1\n")
    (tmp_path / "mine.py").write_text(f"{line}\n")
    with pytest.raises(PluginError, match="cannot be imported") as raised:
        Plugins().add_named("mine.py", tmp_path)
    assert (f"PYTHONPATH={tmp_path}" in str(raised.value)) == helped
