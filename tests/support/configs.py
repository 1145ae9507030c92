"""For the tests of stream.yaml: plugins to name in it, and what loads it or complains."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from contrail.config import RunConfig, load
from contrail.errors import ConfigError
from contrail.registry.plugins import Plugins

STREAM = "stream: [maze]\n"
PLUGIN = """
import enum
from dataclasses import dataclass, field
from typing import Literal

import contrail


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Door:
    locked: bool = False
    keys: list[str] = field(default_factory=list)


@dataclass
class World:
    size: int = 8
    ratio: float = 0.5
    door: Door = field(default_factory=Door)
    doors: list[Door] = field(default_factory=list)
    colour: Colour = Colour.RED
    mode: Literal["day", "night"] = "day"
    limit: int | None = None
    goal: str = "out"

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size is {self.size}, the least is 1")


class Maze(contrail.Environment):
    Config = World

    def tasks(self, split):
        return []

    def reset(self, task):
        return contrail.Observation("")

    def step(self, action):
        return contrail.Step(contrail.Observation(""))


class Craft(Maze):
    Config = contrail.Environment.Config


@contrail.hookimpl
def contrail_environments(register):
    register("maze", Maze)
    register("craft", Craft)
"""

BUILT_IN = """
from dataclasses import dataclass

import contrail


class Choose(contrail.Adapter):
    def render(self, observation):
        return observation.text

    def parse(self, text, observation):
        return text


class React(Choose):
    @dataclass
    class Config:
        max_new_tokens: int = 64


class Replay(contrail.Strategy):
    @dataclass
    class Config:
        fraction: float = 0.25

        def __post_init__(self):
            if not 0 <= self.fraction <= 1:
                raise ValueError(f"fraction is {self.fraction}, not between 0 and 1")


@contrail.hookimpl
def contrail_adapters(register):
    register("choose", Choose)
    register("react", React)


@contrail.hookimpl
def contrail_strategies(register):
    register("sequential", contrail.Strategy)
    register("replay", Replay)


@contrail.hookimpl
def contrail_objectives(register):
    register("grpo", contrail.GRPO)


@contrail.hookimpl
def contrail_models(register):
    register("smollm2-135m", lambda: None)
"""

Load = Callable[..., RunConfig]


def made_plugins() -> Plugins:
    plugins = Plugins()
    for name, text in (("built-in", BUILT_IN), ("worlds", PLUGIN)):
        module = ModuleType(f"contrail_test_{name.replace('-', '_')}")
        sys.modules[module.__name__] = module  # where dataclasses look up annotations
        exec(text, vars(module))
        plugins.add(module, name)
    return plugins


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Loads a text as stream.yaml, with overrides."""

    def load_text(text: str, *overrides: str, file: str = "stream.yaml") -> RunConfig:
        path = tmp_path / file
        path.write_text(text)
        return load(path, overrides, made_plugins())[0]

    return load_text


@pytest.fixture
def complain(read: Load, tmp_path: Path) -> Callable[..., str]:
    """The one-line complaint about a text, with FILE for the file's name."""

    def message(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides)
        found = str(caught.value)
        assert "\n" not in found
        assert "object_type" not in found
        return found.replace(str(tmp_path / "stream.yaml"), "FILE")

    return message
