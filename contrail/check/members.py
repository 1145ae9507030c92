"""A check of the names of a class: a method that is misspelt is never called."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from contrail.adapter import Adapter
from contrail.check.subject import Subject, Warned
from contrail.environment import Environment
from contrail.strategy import Strategy
from contrail.training.objective import Objective

if TYPE_CHECKING:
    from contrail.check.interface import AdapterSubject
    from contrail.check.trial import Trial

BASES = (Environment, Adapter, Strategy, Objective)
NEAR = 0.8
"""How alike two names are, from 0 to 1, of which one is taken for the other, misspelt."""


def names(subject: Subject | Trial | AdapterSubject) -> None:
    """No method or attribute has nearly the name of one of the base class, for which it stands."""
    if isinstance(subject, Subject):
        cls: type = subject.make.registered.value
    else:
        trial: Any = getattr(subject, "trial", subject)  # an adapter's has both
        cls = trial.plugin_class
    found = [f"{name} is never used: did you mean {near}?" for name, near in misspelt(cls)]
    if found:
        raise Warned(f"{cls.__name__}: {' '.join(found)}")


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
