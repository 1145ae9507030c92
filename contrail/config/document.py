"""The keys of a plugin's `Config` with their meanings, for lists on the command line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from dataclasses import dataclass
from typing import Any

from contrail.config.convert import annotations_of, in_words
from contrail.config.schema import plain
from contrail.config.source import show


@dataclass(frozen=True)
class KeyInfo:
    """One key of a `Config` dataclass."""

    name: str
    """The key in stream.yaml."""
    type: str
    """The values that it takes, in words, with their bounds."""
    default: str
    """The default as it would be written in YAML; "" if the key must be given."""
    meaning: str
    """The docstring of the field; "" if it has none."""


def keys_of(config: type) -> list[KeyInfo]:
    """Return the keys of a `Config` dataclass, in the order of its fields.

    Raises:
        PluginError: an annotation cannot be read.
    """
    annotations = annotations_of(config)
    meanings = _field_docstrings(config)
    return [
        KeyInfo(
            item.name,
            in_words(annotations[item.name]) + _bounds(item),
            _default(item),
            meanings.get(item.name, ""),
        )
        for item in dataclasses.fields(config)
        if item.init
    ]


def summary(thing: Any) -> str:
    """Return the first sentence of a docstring, or "" without one of its own."""
    paragraph = documentation(thing).split("\n\n")[0]
    text = " ".join(paragraph.split())
    return re.split(r"(?<=[^.]{2}\.)(?<!et al\.) (?=[A-Z`])", text)[0]


def documentation(thing: Any) -> str:
    """Return the docstring of a class or function; "" for the one that a dataclass writes."""
    text = inspect.cleandoc(vars(thing).get("__doc__") or "") if hasattr(thing, "__dict__") else ""
    if not text:
        text = "" if isinstance(thing, type) else inspect.getdoc(thing) or ""
    generated = dataclasses.is_dataclass(thing) and text.startswith(f"{thing.__name__}(")  # type: ignore[union-attr]
    return "" if generated else text


def _default(item: dataclasses.Field[Any]) -> str:
    if item.default is not dataclasses.MISSING:
        return show(plain(item.default))
    if item.default_factory is not dataclasses.MISSING:
        return show(plain(item.default_factory()))
    return ""


def _bounds(item: dataclasses.Field[Any]) -> str:
    low, high = item.metadata.get("min"), item.metadata.get("max")
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low}"
    return f", at most {high}" if low is None else f", {low} to {high}"


def _field_docstrings(config: type) -> dict[str, str]:
    """Return the docstrings of the fields in the source, including those of base classes."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__[:-1]):
        try:
            source = textwrap.dedent(inspect.getsource(cls))
        except (OSError, TypeError):  # written in a console, or built without source
            continue
        (definition,) = ast.parse(source).body
        if not isinstance(definition, ast.ClassDef):
            continue
        for field, following in zip(definition.body, definition.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                found[field.target.id] = " ".join(following.value.value.split())
    return found
