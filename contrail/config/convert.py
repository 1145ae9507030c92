"""Values out of YAML -> instances of dataclasses, through OmegaConf's structured configs."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import enum
import functools
import math
import os
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from contrail.config.source import escape, show
from contrail.config.yaml_file import parts
from contrail.errors import ConfigError, ContrailError, Key, PluginError, nearest

T = TypeVar("T")
MANY = 20  # keys: too many to list in a message
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "a mapping",
}


class UnknownKey(ConfigError):
    """A key that is not allowed in its mapping.

    Args:
        key: the key.
        value: its value in the file.
        known: the allowed keys.
        hint: added to the message; if many keys are allowed, it says where they are listed.
    """

    def __init__(self, key: Key, value: object, known: Sequence[str], hint: str = "") -> None:
        near = nearest(key[-1], known) if known else "There are no settings here."
        if len(known) > MANY and hint:  # they are listed elsewhere
            close = difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=0.7)
            near = f"Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown key. {near} {hint}".replace("  ", " ").rstrip(), key=key)
        self.value = value
        self.known = known
        self.hint = hint


def check_keys(key: Key, values: Mapping[str, Any], known: Iterable[str], hint: str = "") -> None:
    """Refuse keys that are not allowed, and name the nearest that is.

    Raises:
        UnknownKey: there is such a key.
    """
    names = list(known)
    for name, value in values.items():
        if name not in names:
            raise UnknownKey((*key, name), value, names, hint)


def build(
    cls: type[T], values: object, key: Key = (), directory: Path | None = None, /, **built: Any
) -> T:
    """Return an instance of the dataclass `cls` from the values written at `key`.

    Args:
        cls: its annotations define the allowed types, a field's metadata "min" and "max". Metadata
            "path": the value may be a path relative to `directory`, unless it is one of the given
            words.
        values: the values in the file; missing fields get their defaults.
        key: the position of the values.
        directory: the directory of the file; by default the working directory.
        built: finished fields, which replace any in `values`.

    Raises:
        ConfigError: `cls` does not take a value.
        PluginError: `cls` cannot be read from YAML, or raised.
    """
    if not isinstance(values, dict):
        message = f"{show(values)} is not a mapping. Write `key: value` pairs."
        raise ConfigError(message, key=key)
    hints = annotations_of(cls)  # type: ignore[arg-type]  # classes can be hashed
    fields = {
        item.name: item
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if item.init
    }
    check_keys(key, values, fields)
    plain = {name: item for name, item in fields.items() if name not in built}
    values = {
        name: _found(directory, value, fields[name].metadata.get("path"))
        for name, value in values.items()
    }
    try:
        defaults = _defaults(cls, frozenset(plain))  # type: ignore[arg-type]
        # OmegaConf takes longest: it converts what is not as it is by default.
        given = {
            name: value
            for name, value in values.items()
            if name in plain and not _is_default(value, plain[name].default)
        }
        converted = frozenset({*given, *(plain.keys() - defaults)})
        node = OmegaConf.structured(_schema(cls, converted)) if converted else None  # type: ignore[arg-type]
    except Exception as error:
        text = str(error).splitlines()[0]
        raise PluginError(f"{_name(cls)} cannot be read from YAML: {text}") from error
    for name, value in given.items():
        if hints[name] in (str, str | None) and isinstance(value, (bool, float)):
            # As a number it has lost how it was written: 1.10, 1e5, on.
            message = f"{show(value)} is no text. Write what it is to be in quotes."
            raise ConfigError(message, key=(*key, name))
        if hints[name] in (bool, bool | None) and type(value) is int and value not in (0, 1):
            raise ConfigError(f"{value} is not true or false.", key=(*key, name))
        try:
            node = OmegaConf.unsafe_merge(node, {name: escape(value)})  # in place
        except OmegaConfBaseException as error:
            raise _explained((*key, name), error, hints[name], value) from error
        except TypeError as error:  # a list for a mapping, or the reverse
            raise _not_of(hints[name], value, (*key, name)) from error
    missing = [name for name in plain if name in converted and OmegaConf.is_missing(node, name)]
    if missing:
        raise ConfigError("needs a value. It has no default.", key=(*key, missing[0]))
    for name, value in defaults.items():
        if name not in values:
            _check_default(cls, name, value, plain[name].metadata)
    try:
        found: Any = None if node is None else OmegaConf.to_object(node)
        settled = {
            name: getattr(found, name) if name in converted else copy.deepcopy(defaults[name])
            for name in plain
        }
        for name, value in settled.items():
            if name in values and not fits(value, hints[name]):
                inside = f"{show(values[name])} holds a value of the wrong kind"
                message = f"{inside}. Expected {in_words(hints[name])}."
                raise ConfigError(message, key=(name,))
            bounds = {bound: plain[name].metadata.get(bound) for bound in ("min", "max")}
            check_bounds((name,), value, **bounds)
        return cls(**settled, **built)
    except OmegaConfBaseException as error:
        inner = parts(error.full_key or "")
        raise ConfigError(str(error).splitlines()[0], key=(*key, *inner)) from error
    except ConfigError as error:
        if error.key is None:
            error.of_children = True
        error.key = (*key, *(error.key or ()))
        error.message = " ".join(error.message.split())
        raise
    except (ValueError, ContrailError) as error:
        # Errors of the class itself, from its __post_init__.
        message = " ".join(str(error).split())
        raise ConfigError(message, key=key, of_children=True) from error
    except Exception as error:
        message = f"{_name(cls)} raised {type(error).__name__}: {error}"
        raise PluginError(message) from error


def _check_default(cls: type, name: str, value: object, metadata: Mapping[str, Any]) -> None:
    """Refuse a default out of its own bounds: whoever wrote the file cannot put it right.

    Raises:
        PluginError: it is.
    """
    try:
        check_bounds((), value, metadata.get("min"), metadata.get("max"))
    except ConfigError as error:
        raise PluginError(
            f"{_name(cls)} has a default of {name} that its own bounds do not allow: "
            f"{error.message} Change the default, or the bounds."
        ) from error


def _is_default(value: object, default: object) -> bool:
    """Return whether a plain value is a field's default, which need not be converted again."""
    return (
        type(value) is type(default)
        and isinstance(value, (bool, int, float, str))
        and value == default
        and "$" not in str(value)
    )


@functools.lru_cache(maxsize=256)
def _defaults(cls: Any, names: frozenset[str]) -> dict[str, Any]:
    """Return the defaults of these fields of `cls` as OmegaConf converts them; of those that are
    values, not made by a function."""
    node = OmegaConf.structured(_schema(cls, names))
    fixed = {
        item.name
        for item in dataclasses.fields(cls)
        if item.name in names and item.default is not dataclasses.MISSING
    }
    fixed = {name for name in fixed if not OmegaConf.is_missing(node, name)}
    converted: Any = OmegaConf.to_object(OmegaConf.structured(_schema(cls, frozenset(fixed))))
    return {name: getattr(converted, name) for name in fixed}


@functools.lru_cache(maxsize=1024)
def _schema(cls: Any, names: frozenset[str]) -> type:
    """Return a dataclass of these fields of `cls`; making one takes a millisecond."""
    hints = annotations_of(cls)
    fields = [item for item in dataclasses.fields(cls) if item.name in names]
    return dataclasses.make_dataclass(
        cls.__name__,
        [(item.name, hints[item.name], copy.copy(item)) for item in fields],
        kw_only=True,
    )


def _found(directory: Path | None, value: object, words: Collection[str] | None) -> object:
    """Return a path beside the file it is written in, or else in the working directory, as
    absolute; as it is where neither is there, or it is one of `words`. None: the value is no
    path. In a mapping, each value is one."""
    if words is not None and isinstance(value, dict):
        return {name: _found(directory, path, words) for name, path in value.items()}
    if words is not None and isinstance(value, str) and value and value not in words:
        for base in (directory or Path.cwd(), Path.cwd()):
            path = base / os.path.expanduser(value)
            if path.exists():
                return os.path.abspath(path)
    return value


def check_bounds(key: Key, value: Any, min: float | None = None, max: float | None = None) -> None:
    """Refuse a number out of bounds; if there are bounds, also infinity and not-a-number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or min is max is None:
        return
    if not math.isfinite(value):
        raise ConfigError(f"{value} is not a finite number.", key=key)
    if min is not None and not value >= min:
        raise ConfigError(f"{value} is too small. The least is {min}.", key=key)
    if max is not None and not value <= max:
        raise ConfigError(f"{value} is too large. The most is {max}.", key=key)


def fits(value: object, hint: Any) -> bool:
    """Return whether a value fits an annotation; True if that cannot be decided.

    In lists and mappings OmegaConf accepts more than it should.
    """
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (list, tuple) and isinstance(value, (list, tuple)):
        if origin is tuple and ... not in arguments and arguments:
            return len(value) == len(arguments) and all(map(fits, value, arguments))
        return not arguments or all(fits(item, arguments[0]) for item in value)
    if origin is dict and isinstance(value, dict):
        return not arguments or all(fits(item, arguments[1]) for item in value.values())
    if origin in (bool, str, list, tuple, dict):
        return isinstance(value, origin)
    if origin is type(None):
        return value is None
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return isinstance(value, origin) or any(value == member.value for member in origin)
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        inner = typing.get_type_hints(origin)
        return isinstance(value, origin) and all(
            fits(getattr(value, item.name), inner[item.name]) for item in dataclasses.fields(origin)
        )
    return True


def in_words(hint: Any) -> str:
    """Return an annotation in words."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        words = [in_words(one) for one in arguments]
        return " or ".join(dict.fromkeys(words))
    if origin is type(None):
        return "null"
    if origin in (list, tuple) and arguments:
        kinds = [in_words(one) for one in arguments if one is not ...]
        return f"a list (of {', '.join(kinds)})"
    if choices(hint):
        return f"one of {', '.join(choices(hint))}"
    if dataclasses.is_dataclass(origin):
        return "a mapping"
    return _WORDS.get(origin, str(getattr(origin, "__name__", origin)))


def choices(hint: Any) -> list[str]:
    """Return the texts a Literal or an Enum allows; none for other annotations."""
    if typing.get_origin(hint) is typing.Literal:
        return [item if isinstance(item, str) else show(item) for item in typing.get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint.__members__)
    return []


def _explained(key: Key, error: OmegaConfBaseException, hint: Any, value: object) -> ConfigError:
    """OmegaConf's error in the words of these messages."""
    inner = parts(error.full_key or "")
    # Inside a list of dataclasses, OmegaConf loses the outer keys; then blame the whole list.
    place = key + inner[1:] if inner and inner[0] == key[-1] else key
    if isinstance(error, ConfigKeyError) and dataclasses.is_dataclass(error.object_type):
        return UnknownKey(
            place, value, [item.name for item in dataclasses.fields(error.object_type)]
        )
    if inner and inner != key[-1:]:
        text = str(error).splitlines()[0].rstrip(".")
        null = "NoneType" in text or "not Optional" in text
        return ConfigError("null is not allowed here." if null else f"{text}.", key=place)
    if choices(hint):
        near = nearest(value, choices(hint))
        return ConfigError(f"{show(value)} is not allowed. {near}", key=place)
    return _not_of(hint, value, place)


def _not_of(hint: Any, value: object, key: Key) -> ConfigError:
    """Return the error for a value that does not fit an annotation; for one that stands alone
    where a list is expected, with the list."""
    message = f"{show(value)} is not {in_words(hint)}."
    if value is not None and not isinstance(value, (list, dict)) and fits([value], hint):
        bare = isinstance(value, str) and re.fullmatch(r"[\w./~-]+", value)
        message += f" Write `{key[-1]}: [{value if bare else show(value)}]`."
    return ConfigError(message, key=key)


@functools.lru_cache(maxsize=1024)
def annotations_of(cls: Any) -> Mapping[str, Any]:
    """Return the types of a class's fields. Do not change them.

    Raises:
        PluginError: they cannot be read.
    """
    try:
        return typing.get_type_hints(cls)
    except Exception as error:
        message = f"{_name(cls)} has an annotation that cannot be read: {error}"
        raise PluginError(message) from error


def _name(cls: type) -> str:
    return f"the settings class {cls.__module__}.{cls.__qualname__}"
