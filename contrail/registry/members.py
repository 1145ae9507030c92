"""What can be told of a plugin's class from its members, before it is used."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from contrail.adapter import Adapter, check_parameters
from contrail.environment import Environment
from contrail.errors import PluginError
from contrail.strategy import Strategy
from contrail.training.objective import Objective

BASES = (Environment, Adapter, Strategy, Objective)
NEAR = 0.8
"""How alike two names are, from 0 to 1, of which one is taken for the other, misspelt."""
STATE = ("state_dict", "load_state_dict")


def check_members(cls: type) -> None:
    """Refuse a class with a member that could not do its work.

    Raises:
        PluginError: a method of an adapter could not be called, or a state is saved and never
            restored.
    """
    if issubclass(cls, Adapter):
        check_parameters(cls)
    for base in (Strategy, Objective):
        if issubclass(cls, base):
            own = [name for name in STATE if getattr(cls, name) is not getattr(base, name)]
            if len(own) == 1:
                other = next(name for name in STATE if name not in own)
                raise PluginError(
                    f"{cls.__name__} defines {own[0]} without {other}: a run that goes on would "
                    "not have its state. Define both."
                )


def misspelt(cls: type) -> Iterator[tuple[str, str]]:
    """Yield the public names of a plugin's class that are nearly ones of its base class, each with
    that name.

    A name is left out where the class defines the other as well: `task` beside `tasks`.
    """
    base = next((base for base in BASES if issubclass(cls, base)), None)
    if base is None:
        return
    hooks = set(_public(base, object))
    own = dict.fromkeys(_public(cls, base))
    for name in own:
        if name in hooks:
            continue
        near = difflib.get_close_matches(name, hooks - own.keys(), n=1, cutoff=NEAR)
        if near:
            yield name, near[0]


def _public(cls: type, above: type) -> Iterator[str]:
    """Yield the public names that a class has besides those of the classes above it."""
    for each in cls.__mro__:
        if each not in above.__mro__:
            members: dict[str, Any] = {**vars(each), **vars(each).get("__annotations__", {})}
            yield from (name for name in members if not name.startswith("_"))
