"""Settings that a plugin has got wrong, and classes that a file and a name cannot stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from configs import STREAM, made_plugins

import contrail
from contrail.config import Source, load
from contrail.errors import PluginError


@dataclass
class Impossible:
    n: int = field(default=3, metadata={"min": 5})


class Bounded(contrail.Strategy):
    Config = Impossible


def test_a_default_out_of_its_own_bounds_is_the_plugins_fault() -> None:
    plugins = made_plugins()
    plugins.strategies.register("bounded", Bounded, "mine")
    stream = {"stream": ["maze"], "strategy": "bounded"}
    with pytest.raises(PluginError) as raised:
        load(Source(stream), (), plugins)
    assert str(raised.value) == (
        "plugin 'mine': the strategy 'bounded': the settings class "
        f"{__name__}.Impossible has a default of n that its own bounds do not allow: 3 is too "
        "small. The least is 5. Change the default, or the bounds."
    )
    config, _ = load(Source({**stream, "strategy": {"name": "bounded", "n": 5}}), (), plugins)
    assert config.strategy.settings.n == 5


@pytest.mark.parametrize(
    ("written", "hook"),
    [
        ("adapter: 'mine.py:Turns'\n" + STREAM, "contrail_adapters"),
        ("stream: [{environment: maze, learn: 'mine.py:Own'}]\n", "contrail_objectives"),
        ("stream: ['mine.py:World']\n", "contrail_environments"),
    ],
)
def test_only_strategies_are_named_by_their_class(
    complain: Callable[..., str], written: str, hook: str
) -> None:
    said = complain(written)
    assert "FILE.py:CLASS and MODULE:CLASS name strategies only." in said
    assert f"with the hook {hook}," in said
