"""One text game on ALFWorld's own engine: textworld's PDDL environment over fast-downward."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, cached_property, lru_cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import fast_downward
from textworld import EnvInfos
from textworld.envs.pddl import PddlEnv, logic, textgen

# Copies of fast-downward's library that no game uses. Each holds one game's state in its static
# variables, and unloading a second copy crashes the process, so they are kept and used again.
_idle_libraries: list[Any] = []


@lru_cache(maxsize=8)
def _translated(domain: str, problem: str) -> Any:
    return fast_downward.pddl2sas(domain, problem)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    return _parse(text, rule_name="symbols")


# Most of a game's loading is translating its problem, twice: the second time for the planner, which
# is not used here. Episodes that play the same task in turn share one translation.
vars(logic)["fast_downward"] = SimpleNamespace(
    **{**vars(fast_downward), "pddl2sas": lambda domain, problem, **_: _translated(domain, problem)}
)
# Three quarters of a step are parsing the same few templates and conditions again and again.
_parse = vars(textgen)["_parse_and_convert"]
vars(textgen)["_parse_and_convert"] = lambda text, **_: deepcopy(_parsed(text))
vars(textgen)["Rule"] = SimpleNamespace(
    parse_conjunctive_query=lru_cache(maxsize=4096)(textgen.Rule.parse_conjunctive_query)
)


class Game(PddlEnv):  # type: ignore[misc]
    """A game under way.

    Adds the effects of alfworld's wrappers to textworld's environment (names such as "apple 2" for
    ids), and leaves the process unchanged.
    """

    def __init__(self, data: Mapping[str, Any], facts: bool = False) -> None:
        """Read the game; `reset` starts it.

        Args:
            data: the content of a game.tw-pddl file.
            facts: whether states tell all that is so, as alfworld's expert needs it.

        Raises:
            ValueError: it cannot be read.
        """
        super(PddlEnv, self).__init__(EnvInfos(won=True, admissible_commands=True, facts=facts))
        self.load(data)
        self.downward_lib = _idle_libraries.pop() if _idle_libraries else fast_downward.load_lib()

    def load(self, data: Mapping[str, Any]) -> None:
        with _only_errors():
            self._game_data = data
            self._logic = logic.GameLogic(domain=data["pddl_domain"], grammar=data["grammar"])

    def reset(self) -> Any:
        """Return the first state: `feedback` is the text, `admissible_commands` a sorted list.

        Raises:
            ValueError: the engine cannot make sense of the game.
        """
        self.__dict__.pop("_entity_infos", None)
        with _only_errors():
            return super().reset()

    def close(self) -> None:
        """Give the library back. The game cannot be played on."""
        library = self.__dict__.pop("downward_lib", None)
        if library is not None:
            _idle_libraries.append(library)

    @cached_property
    def _entity_infos(self) -> Any:
        infos = self._get_entity_infos()
        names = module("alfworld.agents.utils.misc").Demangler(game_infos=infos, shuffle=False)
        for info in infos.values():
            info.name = names.demangle_alfred_name(info.id)
        return infos


@cache
def module(name: str) -> ModuleType:
    """Return a module of alfworld. Importing it by itself makes a directory and sets
    ALFWORLD_DATA."""
    before = os.environ.get("ALFWORLD_DATA")
    os.environ["ALFWORLD_DATA"] = tempfile.gettempdir()
    try:
        return import_module(name)
    finally:
        if before is None:
            del os.environ["ALFWORLD_DATA"]
        else:
            os.environ["ALFWORLD_DATA"] = before


@contextmanager
def _only_errors() -> Iterator[None]:
    """Bad games raise anything at all, SystemExit too; and the translator sets `sys.argv`."""
    arguments = sys.argv
    try:
        yield
    except (Exception, SystemExit) as error:
        raise ValueError(f"not a playable game: {type(error).__name__}: {error}") from error
    finally:
        sys.argv = arguments
