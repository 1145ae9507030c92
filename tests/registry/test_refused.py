"""What plugins register and cannot mean, and files of which another version is installed."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail.config import Source, load
from contrail.errors import PluginError
from contrail.registry.plugins import Plugins
from contrail.registry.registered import check_start, register_class
from contrail.runs.composition import compose
from contrail.strategy import Strategy


@pytest.mark.parametrize("name", ["", " ", "a b", "m/x:Y", "own.py:A", "a/b", "a\n", 3])
def test_a_name_that_nobody_could_write(name: Any) -> None:
    plugins = Plugins()
    with pytest.raises(
        PluginError, match=r"plugin 'mine' registers the strategy .*cannot be a name"
    ):
        register_class(plugins.strategies, Strategy, "mine", name, Strategy)
    register_class(plugins.strategies, Strategy, "mine", "an-own_name.2", Strategy)
    register_class(plugins.models, None, "mine", "me/tiny", lambda: Path())  # as on a hub


@pytest.mark.parametrize("value", ["second", -1, 0, 1.5, True, math.nan, -math.inf, [2]])
def test_a_first_stage_that_is_none(value: Any) -> None:
    made = type("Made", (Strategy,), {"starts_at": value})
    message = r"strategy 'made' \(plugin 'mine'\): starts_at is "
    with pytest.raises(PluginError, match=message):
        register_class(Plugins().strategies, Strategy, "mine", "made", made)


@pytest.mark.parametrize("value", [None, 1, 2, 2.0, Strategy.NEVER, numpy.int64(2)])
def test_first_stages(value: Any) -> None:
    check_start("strategy 'made'", value)
    made = type("Made", (Strategy,), {"starts_at": property(lambda self: value)})
    register_class(Plugins().strategies, Strategy, "mine", "made", made)


class Decides(contrail.Strategy):
    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.starts_at = 0


def test_a_first_stage_that_is_decided_when_the_strategy_is_made() -> None:
    stream = {"model": "tiny-random", "stream": ["textcraft"], "strategy": "decides"}
    plugins = contrail.registry.plugins.load_plugins()
    plugins.strategies.register("decides", Decides, "mine")
    config, plugins = load(Source(stream), (), plugins)
    with pytest.raises(PluginError, match=r"'decides' \(plugin 'mine'\): starts_at is 0"):
        compose(config, plugins)


HOARD = """
import contrail

class Hoard(contrail.Strategy):
    \"\"\"{version}\"\"\"

@contrail.hookimpl
def contrail_strategies(register):
    register("hoard", Hoard)
"""


@pytest.mark.parametrize("entry_point", ["hoard", "contrail_hoard"])
def test_a_plugin_file_that_differs_from_its_installed_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str
) -> None:
    for folder, version in (("installed", "1"), ("here", "1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "contrail_hoard.py").write_text(HOARD.format(version=version))
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    monkeypatch.delitem(__import__("sys").modules, "contrail_hoard", raising=False)
    point = importlib.metadata.EntryPoint(entry_point, "contrail_hoard", "contrail")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    plugins = Plugins()
    plugins.add_installed()
    here = tmp_path / "here" / "contrail_hoard.py"
    assert plugins.load(str(here), tmp_path) == entry_point  # they are the same
    here.write_text(HOARD.format(version="2"))
    with pytest.raises(PluginError) as raised:
        plugins.load(str(here), tmp_path)
    said = str(raised.value)
    assert said.startswith(f"plugin file {here} is not as it is in the package that is installed")
    assert str(tmp_path / "installed" / "contrail_hoard.py") in said
    assert "`pip install -e`" in said
    assert "uninstall it" in said


def test_files_of_one_name_that_are_not_installed_are_two_plugins(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(HOARD.format(version=folder))
    plugins = Plugins()
    plugins.add_named("a/mine.py", tmp_path)
    with pytest.raises(PluginError, match="two plugins are called 'mine'"):
        plugins.add_named("b/mine.py", tmp_path)
