"""One text game on ALFWorld's own engine: textworld's PDDL environment over fast-downward."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property, lru_cache
from importlib import import_module
from importlib.metadata import version
from types import ModuleType, SimpleNamespace
from typing import Any

import fast_downward
from fast_downward.translate.pddl.conditions import Atom
from textworld import EnvInfos
from textworld.envs.pddl import PddlEnv, logic, textgen

from contrail.cache import FileCache

# Copies of fast-downward's library that no game uses. Each holds one game's state in its static
# variables, and unloading a second copy crashes the process, so they are kept and used again.
_idle_libraries: list[Any] = []


# Some 30 kB each. A game of ALFWorld's own is translated in a quarter of a second.
_translations = FileCache("alfworld", kept=2000)


@lru_cache(maxsize=8)
def _translated(domain: str, problem: str) -> Any:
    """Return what fast-downward's translator makes of a problem: as textworld reads the task, and
    the text for the planner's library."""
    key = [version("textworld"), version("fast_downward_textworld"), domain, problem]
    parts = _translations.get(json.dumps(key), lambda: _parts(domain, problem))
    return SimpleNamespace(
        types=[_named(name, supertype_names=above) for name, above in parts["types"]],
        objects=[_named(name, type_name=kind) for name, kind in parts["objects"]],
        actions=[
            _named(name, parameters=[_named(each, type_name=kind) for each, kind in parameters])
            for name, parameters in parts["actions"]
        ],
        init=[Atom(predicate, things) for predicate, *things in parts["init"]],
    ), parts["sas"]


def _parts(domain: str, problem: str) -> dict[str, Any]:
    """Translate a problem; return of the task what textworld reads, as JSON values."""
    task, sas = fast_downward.pddl2sas(domain, problem)
    return {
        "types": [[each.name, each.supertype_names] for each in task.types],
        "objects": [[each.name, each.type_name] for each in task.objects],
        "actions": [
            [action.name, [[each.name, each.type_name] for each in action.parameters]]
            for action in task.actions
        ],
        # Others are costs and distances, of which textworld makes nothing.
        "init": [[fact.predicate, *fact.args] for fact in task.init if isinstance(fact, Atom)],
        "sas": sas,
    }


def _named(name: str, **members: Any) -> SimpleNamespace:
    return SimpleNamespace(name=name, **members)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    return _parse(text, rule_name="symbols")


def _copied(value: Any) -> Any:
    """Return a copy of symbols of the grammar or of a context, as deep as a derivation changes
    them."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return dict(value)
    copy = object.__new__(type(value))
    for name, member in vars(value).items():
        vars(copy)[name] = _copied(member) if isinstance(member, textgen.Symbol) else member
    return copy


# Most of a game's loading is translating its problem, twice: the second time for the planner, which
# is not used here. Episodes that play the same task share one translation.
vars(logic)["fast_downward"] = SimpleNamespace(
    **{**vars(fast_downward), "pddl2sas": lambda domain, problem, **_: _translated(domain, problem)}
)
# The members of a group have one grammar.
vars(logic)["_parse_and_convert"] = lru_cache(maxsize=8)(vars(logic)["_parse_and_convert"])
# Three quarters of a step are parsing the same few templates and conditions again and again, and
# most of the rest is copying all that their variables hold.
_parse = vars(textgen)["_parse_and_convert"]
vars(textgen)["_parse_and_convert"] = lambda text, **_: _copied(_parsed(text))
vars(textgen)["deepcopy"] = _copied
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
