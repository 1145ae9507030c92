"""What the user wrote: a YAML file and the overrides on top of it, and where each key stands.

Every complaint about a key goes through `Source.fail`, which names the line or the override.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from contrail.errors import ConfigError, nearest

Key = tuple[str | int, ...]
"""The place of a value: ("stream", 0, "updates") is written stream.0.updates."""

_COMPONENTS = ("strategy", "adapter", "environment", "environments")
_OVERRIDE = re.compile(r"([^.\[\]\s=]+(?:\.[^.\[\]\s=]+|\[\d+\])*)=(.*)", re.DOTALL)


def dotted(key: Key) -> str:
    """A key as the user writes it."""
    return ".".join(str(part) for part in key)


def parts(key: str) -> Key:
    """The opposite of `dotted`; also takes stream[0].updates."""
    found = re.findall(r"[^.\[\]]+", key)
    return tuple(int(part) if part.isdecimal() else part for part in found)


def show(value: object) -> str:
    """A value as it looks in YAML, for messages."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {show(item)}' for name, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return repr(value)


def escape(value: Any) -> Any:
    """The same value, such that OmegaConf reads "${" in its texts as text."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape(item) for item in value]
    return value


class Source:
    """A stream file with its overrides: `values`, and the place of each of them."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, or is not a YAML mapping with unique keys.
        """
        self.path = path
        self.directory = path.parent.absolute()
        self._overrides: list[tuple[Key, str]] = []
        text = self._text()
        self._root = self._compose(text)
        self.values: dict[str, Any] = self._load(text)

    @classmethod
    def of_overrides(cls, texts: Sequence[str]) -> Source:
        """A source of overrides alone: settings that are given on a command line."""
        source = cls.__new__(cls)
        source.path, source.directory = Path("command line"), Path.cwd()
        source.values, source._overrides = {}, []
        source._root = source._compose("{}")
        source.override(texts)
        source.resolve()
        return source

    def fail(self, key: Key, what: str, *, of_children: bool = False) -> NoReturn:
        """Raise a ConfigError that says where `key` was written.

        Args:
            key: what the error is about.
            what: what is wrong and what to do.
            of_children: the error arises from the values below `key` taken together, so that an
                override of one of them is likelier to blame than the line of `key` in the file.
        """
        place, shown = self._place(key, of_children), dotted(key)
        if shown and not place.startswith(f"override '{shown}="):
            place = f"{place}: {shown}"
        raise ConfigError(f"{place}: {what}")

    def written(self, key: Key) -> bool:
        """Whether the user gave this key a value, in the file or by an override."""
        overridden = any(at == key[: len(at)] for at, _ in self._overrides)
        return overridden or self._line(key)[1]

    def override(self, texts: Iterable[str]) -> None:
        """Set what the overrides say, each `key=value`, in their order."""
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
                    f"override {text!r}: the value cannot be read: {_first_line(error)}. "
                    "Put special characters in quotes."
                ) from error
            assert isinstance(plain, dict)
            self._set(key, plain["value"], text)
            self._overrides.append((key, text))

    def resolve(self) -> None:
        """Put the values of ${interpolations} in their place."""
        try:
            config = OmegaConf.create(self.values)
            resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (OmegaConfBaseException, RecursionError) as error:
            key = parts(getattr(error, "full_key", None) or "")
            text = _first_line(error)
            if text.startswith("Missing mandatory"):
                self.fail(key, "??? stands for a value you must give. Write one.")
            target = re.match(r"Interpolation key '(.+?)' not found", text)
            hint = nearest(target[1], self.values) if target else "Write a plain value."
            self.fail(key, f"{text}. {hint}")
        assert isinstance(resolved, dict)
        self.values = {str(name): value for name, value in resolved.items()}

    # Reading

    def _text(self) -> str:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            folder = self.path.parent
            beside = _yaml_files(folder) if folder.is_dir() else []
            if not folder.is_dir():
                hint = f"There is no directory {folder} either."
            elif beside:
                hint = nearest(self.path.name, beside)
            else:
                hint = f"There is no .yaml file in {folder.absolute()}."
            raise ConfigError(f"{self.path}: there is no such file. {hint}") from None
        except IsADirectoryError:
            inside = _yaml_files(self.path)
            hint = f" In it: {', '.join(inside)}." if inside else ""
            message = f"{self.path}: is a directory. Name the stream file (.yaml) itself.{hint}"
            raise ConfigError(message) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            message = f"{self.path}: cannot be read: {reason}. Check its name and permissions."
            raise ConfigError(message) from error
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(
                f"{self.path}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x}). "
                "Save the file as UTF-8."
            ) from error

    def _compose(self, text: str) -> yaml.MappingNode:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self._not_yaml(error, text)
        if root is None:
            raise ConfigError(
                f"{self.path}: the file is empty. "
                "Write at least a stream, for example `stream: [babyai, textcraft]`."
            )
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"{self.path}:{root.start_mark.line + 1}: the top level is not a mapping. "
                "Write `key: value` lines, for example `stream: [babyai, textcraft]`."
            )
        self._check_keys(root, (), set())
        return root

    def _load(self, text: str) -> dict[str, Any]:
        try:
            values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        except yaml.YAMLError as error:
            self._not_yaml(error, text)
        except OmegaConfBaseException as error:
            self.fail(parts(error.full_key or ""), f"{_first_line(error)}. Write a plain value.")
        assert isinstance(values, dict)
        return {str(name): value for name, value in values.items()}

    def _not_yaml(self, error: yaml.YAMLError, text: str) -> NoReturn:
        line, column = 1, 1
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            if mark is not None:
                line, column = mark.line + 1, mark.column + 1
            problem = error.problem or error.context or "it cannot be parsed"
            if error.context and error.problem:
                problem = f"{problem} ({error.context})"
        elif isinstance(error, yaml.reader.ReaderError):
            before = text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            problem = f"character {text[error.position]!a} is not allowed"
        else:
            problem = _first_line(error)
        lines = text.splitlines()
        written = lines[line - 1] if line <= len(lines) else ""
        advice = "Check the indentation, colons, brackets and quotes there."
        if "\t" in written[: len(written) - len(written.lstrip()) + 1]:
            advice = "YAML allows no tabs in indentation: use spaces."
        elif "${" in written:
            advice = "Within braces or brackets, put ${…} in quotes."
        problem = " ".join(problem.split()).rstrip(".")
        raise ConfigError(f"{self.path}:{line}:{column}: not valid YAML: {problem}. {advice}")

    def _check_keys(self, node: yaml.Node, key: Key, seen: set[int]) -> None:
        """Refuse keys that PyYAML would drop in silence, and those that are not text."""
        if id(node) in seen:  # an alias, or an alias to itself
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._check_keys(item, (*key, index), seen)
        if not isinstance(node, yaml.MappingNode):
            return
        lines: dict[str, int] = {}
        for name, item in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode) or name.tag.endswith(":null"):
                place = f"{self.path}:{line}: {dotted(key) or 'top level'}"
                raise ConfigError(f"{place}: a key must be a name. Write `key: value`.")
            inner = (*key, name.value)
            if name.value in lines:
                raise ConfigError(
                    f"{self.path}:{line}: {dotted(inner)}: is given twice, first in line "
                    f"{lines[name.value]}. Remove one."
                )
            lines[name.value] = line
            self._check_keys(item, inner, seen)

    # Overriding

    def _set(self, key: Key, value: Any, text: str) -> None:
        """Set one value, making the mappings on the way to it."""
        place: Any = self.values
        part: Any
        for depth, part in enumerate(key):
            above = dotted(key[:depth])
            if isinstance(place, list):
                if not isinstance(part, int) or part >= len(place):
                    count = f"0 to {len(place) - 1}" if place else "none, the list is empty"
                    raise ConfigError(
                        f"override {text!r}: {above} is a list and has no item {part!r}. "
                        f"Items: {count}."
                    )
            elif isinstance(place, dict):
                part = str(part)
            else:
                raise ConfigError(
                    f"override {text!r}: {above} is {show(place)}, which has no key {part!r}. "
                    f"Override {above} itself."
                )
            if depth == len(key) - 1:
                place[part] = value
                return
            if isinstance(place, dict):
                place.setdefault(part, {})
            inner = place[part]
            if inner is None or isinstance(inner, str):
                inner = place[part] = self._long_form(inner, key[: depth + 1])
            place = inner

    @staticmethod
    def _long_form(value: str | None, key: Key) -> Any:
        """What a name is short for, so that an override may go into it."""
        if value is None:
            return {}
        if len(key) == 2 and key[0] == "stream":
            return {"environment": value}
        named = [part for part in key[-2:] if isinstance(part, str)]
        return {"name": value} if named and named[-1] in _COMPONENTS else value

    # Locating

    def _place(self, key: Key, of_children: bool) -> str:
        above = [text for at, text in self._overrides if key[: len(at)] == at]
        around = [text for at, text in self._overrides if key and at[: len(key)] == key[: len(at)]]
        line, exact = self._line(key)
        if of_children or not (above or exact):
            above = around
        if above:
            return f"override {above[-1]!r}"
        return f"{self.path}:{line}" if line else str(self.path)

    def _line(self, key: Key) -> tuple[int | None, bool]:
        """The line of a key, or of what stands around it; and whether it is the key's own."""
        node: yaml.Node = self._root
        line: int | None = None
        for part in key:
            found = next((pair for pair in _children(node) if pair[0] == str(part)), None)
            if found is None:
                return line, False
            _, line, node = found
        return line, True


def _children(node: yaml.Node) -> Iterator[tuple[str, int, yaml.Node]]:
    """The keys (or indices) of a node, with their lines and values."""
    if isinstance(node, yaml.MappingNode):
        for name, item in node.value:
            yield str(name.value), name.start_mark.line + 1, item
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield str(index), item.start_mark.line + 1, item


def _yaml_files(folder: Path) -> Sequence[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if name.endswith((".yaml", ".yml"))]


def _first_line(error: BaseException) -> str:
    """An error in one line, without OmegaConf's and PyYAML's notes on where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        return error.problem
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
