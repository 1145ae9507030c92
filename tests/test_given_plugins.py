"""What a call from Python may be given as plugins, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import contrail
from contrail.errors import PluginError
from contrail.given import Given


class Own(contrail.GRPO):
    """An objective by its class."""


class Hooks:
    @contrail.hookimpl
    def contrail_strategies(self, register: Callable[..., None]) -> None:
        register("never", contrail.Strategy)


@contrail.hookimpl
def contrail_strategies(register: Callable[..., None]) -> None:
    register("never", contrail.Strategy)


@pytest.mark.parametrize(
    "item", [lambda: 1, contrail_strategies, object(), Hooks(), Hooks, int, 3, None, ["mine.py"]]
)
def test_what_is_no_plugin_is_refused(item: Any) -> None:
    with pytest.raises(PluginError, match=r"is no plugin: give a plugin file.*Objective"):
        Given([item])


def test_the_class_of_an_objective_is_a_plugin() -> None:
    assert "Own" in Given([Own]).plugins.objectives
