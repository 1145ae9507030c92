"""The user's input: a YAML file and overrides, and the line of each key.

Code that finds a fault raises a ConfigError with its key; `Source.located` adds the line or the
override.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from contrail.config.yaml_file import compose, first_line, load_values, parts, read_text
from contrail.errors import ConfigError, Key, dotted, nearest

_COMPONENTS = ("strategy", "adapter", "environment", "environments")
_OVERRIDE = re.compile(r"([^.\[\]\s=]+(?:\.[^.\[\]\s=]+|\[\d+\])*)=(.*)", re.DOTALL)


def show(value: object) -> str:
    """Return a value as it looks in YAML, for messages."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {show(item)}' for name, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return repr(value)


def escape(value: Any) -> Any:
    """Return the same value, such that OmegaConf reads "${" in its texts as text."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape(item) for item in value]
    return value


class Source:
    """A stream file, or its values, with overrides.

    Relative paths in it start at `directory`: the file's directory, or the working directory.
    """

    def __init__(self, origin: Path | Mapping[str, Any] = MappingProxyType({})) -> None:
        """Read a file, or take its values as they are.

        Raises:
            ConfigError: it cannot be read, or is not a YAML mapping with unique keys.
        """
        self._overrides: list[tuple[Key, str]] = []
        if isinstance(origin, Path):
            self.path: Path | None = origin
            self.directory = origin.parent.absolute()
            text = read_text(origin)
            self._root: yaml.Node = compose(origin, text)
            with self.located():
                self.values: dict[str, Any] = load_values(origin, text)
        else:
            self.path, self.directory = None, Path.cwd()
            self._root = yaml.MappingNode("", [])
            self.values = copy.deepcopy(dict(origin))

    @classmethod
    def of_overrides(cls, texts: Iterable[str]) -> Source:
        """Overrides alone: settings that are given on a command line."""
        source = cls()
        source.override(texts)
        with source.located():
            source.resolve()
        return source

    @contextmanager
    def located(self) -> Iterator[None]:
        """Context manager: a ConfigError raised inside gets the line or the override of its key."""
        try:
            yield
        except ConfigError as error:
            if error.key is not None and error.place is None:
                error.place = self._place(error.key, error.of_children)
            raise

    def override(self, texts: Iterable[str]) -> None:
        """Set the values of overrides, `key=value` each, in their order."""
        for text in texts:
            match = _OVERRIDE.fullmatch(text)
            if match is None:
                raise ConfigError(
                    f"override {text!r}: is not of the form key=value. "
                    "Write for example seed=1 or stream.0.updates=10."
                )
            try:
                value = OmegaConf.from_dotlist([f"value={match[2]}"])
                key, plain = parts(match[1]), OmegaConf.to_container(value, resolve=False)
            except (yaml.YAMLError, OmegaConfBaseException) as error:
                raise ConfigError(
                    f"override {text!r}: the value cannot be read: {first_line(error)}. "
                    "Put special characters in quotes."
                ) from error
            assert isinstance(plain, dict)
            self._set(self.values, (), key, plain["value"], text)

    def resolve(self) -> None:
        """Put the values of ${interpolations} in their place."""
        try:
            config = OmegaConf.create(self.values)
            resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (OmegaConfBaseException, RecursionError) as error:
            key = parts(getattr(error, "full_key", None) or "")
            text = first_line(error)
            if text.startswith("Missing mandatory"):
                message = "??? stands for a value you must give. Write one."
                raise ConfigError(message, key=key) from error
            target = re.match(r"Interpolation key '(.+?)' not found", text)
            hint = nearest(target[1], self.values) if target else "Write a plain value."
            raise ConfigError(f"{text}. {hint}", key=key) from error
        assert isinstance(resolved, dict)
        self.values = {str(name): value for name, value in resolved.items()}

    # Overriding

    def _set(self, place: Any, above: Key, below: Key, value: Any, text: str) -> None:
        """Set `below`, a key within `place`, and create the mappings on the way to it.

        Args:
            place: the values at the key `above`.
            above: the part of the override's key that leads to `place`.
            below: the rest of the key.
            value: the new value.
            text: the override.
        """
        part: Any = below[0]
        if isinstance(place, list):
            if part == "*" and place:
                for index in range(len(place)):
                    own = copy.deepcopy(value)
                    self._set(place, above, (index, *below[1:]), own, text)
                return
            if not isinstance(part, int) or part >= len(place):
                last = len(place) - 1
                count = f"0 to {last}, or * for all" if place else "none, the list is empty"
                raise ConfigError(
                    f"override {text!r}: {dotted(above)} is a list and has no item {part!r}. "
                    f"Items: {count}."
                )
        elif isinstance(place, dict):
            part = str(part)
        else:
            raise ConfigError(
                f"override {text!r}: {dotted(above)} is {show(place)}, which has no key {part!r}. "
                f"Override {dotted(above)} itself."
            )
        key = (*above, part)
        if len(below) == 1:
            place[part] = value
            self._overrides.append((key, text))
            return
        if isinstance(place, dict):
            place.setdefault(part, {})
        if place[part] is None or isinstance(place[part], str):
            place[part] = self._long_form(place[part], key)
        self._set(place[part], key, below[1:], value, text)

    @staticmethod
    def _long_form(value: str | None, key: Key) -> Any:
        """Return the mapping that a name abbreviates, so that an override can change it."""
        if value is None:
            return {}
        if len(key) == 2 and key[0] == "stream":
            return {"environment": value}
        named = [part for part in key[-2:] if isinstance(part, str)]
        return {"name": value} if named and named[-1] in _COMPONENTS else value

    # Locating

    def _place(self, key: Key, of_children: bool) -> str:
        """Return the line or the override where a key was written, and the key."""
        shown, override = dotted(key), self._override(key, of_children)
        if override is not None:
            named = not shown or override.startswith(f"{shown}=")
            return f"override {override!r}" + ("" if named else f": {shown}")
        line, _ = self._line(key)
        file = None if self.path is None else f"{self.path}:{line}" if line else str(self.path)
        return ": ".join(part for part in (file, shown) if part)

    def _override(self, key: Key, of_children: bool) -> str | None:
        """Return the override to blame for a key, if one is."""
        above = [text for at, text in self._overrides if key[: len(at)] == at]
        around = [text for at, text in self._overrides if key and at[: len(key)] == key[: len(at)]]
        if of_children or not (above or self._line(key)[1]):
            above = around
        return above[-1] if above else None

    def _line(self, key: Key) -> tuple[int | None, bool]:
        """Return the line of a key, or of the value around it; and whether it is the key's own
        line."""
        node = self._root
        line: int | None = None
        for part in key:
            found = next((pair for pair in _children(node) if pair[0] == str(part)), None)
            if found is None:
                return line, False
            _, line, node = found
        return line, True


def _children(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield the keys (or indices) of a node, with their lines and values."""
    if isinstance(node, yaml.MappingNode):
        for name, item in node.value:
            yield str(name.value), name.start_mark.line + 1, item
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield str(index), item.start_mark.line + 1, item
