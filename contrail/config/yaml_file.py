"""Reads a YAML file; every error names the file and, if possible, the line."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from contrail.errors import ConfigError, Key, dotted, nearest


def parts(key: str) -> Key:
    """Return the opposite of `dotted`; also takes stream[0].updates."""
    found = re.findall(r"[^.\[\]]+", key)
    return tuple(int(part) if part.isdecimal() else part for part in found)


def read_text(path: Path) -> str:
    """Return the content of a stream file.

    Raises:
        ConfigError: it cannot be read.
    """
    if path.suffix == ".py" and path.is_file():
        raise ConfigError(
            f"{path}: is a plugin file, and no stream file. `contrail check {path}` checks it, "
            f"`contrail play {path}` plays its environment; a stream names it under `plugins`."
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        beside = _yaml_files(folder) if folder.is_dir() else []
        if not folder.is_dir():
            hint = f"There is no directory {folder} either."
        elif beside:
            hint = nearest(path.name, beside)
        else:
            hint = f"There is no .yaml file in {folder.absolute()}."
        raise ConfigError(f"{path}: there is no such file. {hint}") from None
    except IsADirectoryError:
        inside = _yaml_files(path)
        hint = f" In it: {', '.join(inside)}." if inside else ""
        message = f"{path}: is a directory. Name the stream file (.yaml) itself.{hint}"
        raise ConfigError(message) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{path}: cannot be read: {reason}. Check its name and permissions."
        raise ConfigError(message) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x}). "
            "Save the file as UTF-8."
        ) from error


def compose(path: Path, text: str) -> yaml.MappingNode:
    """Return the parse tree of a stream file, in which every value has its line.

    Raises:
        ConfigError: the text is not a YAML mapping with unique keys.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        _not_yaml(path, error, text)
    if root is None:
        raise ConfigError(
            f"{path}: the file is empty. "
            "Write at least a stream, for example `stream: [babyai, textcraft]`."
        )
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(
            f"{path}:{root.start_mark.line + 1}: the top level is not a mapping. "
            "Write `key: value` lines, for example `stream: [babyai, textcraft]`."
        )
    _check_keys(path, root, (), set())
    return root


def load_values(path: Path, text: str) -> dict[str, Any]:
    """Return the values in a stream file, ${interpolations} as they are written.

    Raises:
        ConfigError: a value cannot be read.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.YAMLError as error:
        _not_yaml(path, error, text)
    except OmegaConfBaseException as error:
        message = f"{first_line(error)}. Write a plain value."
        raise ConfigError(message, key=parts(error.full_key or "")) from error
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _not_yaml(path: Path, error: yaml.YAMLError, text: str) -> NoReturn:
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
        problem = first_line(error)
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    advice = "Check the indentation, colons, brackets and quotes there."
    if "\t" in written[: len(written) - len(written.lstrip()) + 1]:
        advice = "YAML allows no tabs in indentation: use spaces."
    elif "${" in written:
        advice = "Within braces or brackets, put ${…} in quotes."
    problem = " ".join(problem.split()).rstrip(".")
    raise ConfigError(f"{path}:{line}:{column}: not valid YAML: {problem}. {advice}")


def _check_keys(path: Path, node: yaml.Node, key: Key, seen: set[int]) -> None:
    """Refuse keys that PyYAML would drop silently, and keys that are not text."""
    if id(node) in seen:  # an alias, or an alias to itself
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check_keys(path, item, (*key, index), seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for name, item in node.value:
        line = name.start_mark.line + 1
        if not isinstance(name, yaml.ScalarNode) or name.tag.endswith(":null"):
            place = f"{path}:{line}: {dotted(key) or 'top level'}"
            raise ConfigError(f"{place}: a key must be a name. Write `key: value`.")
        inner = (*key, name.value)
        if name.value in lines:
            raise ConfigError(
                f"{path}:{line}: {dotted(inner)}: is given twice, first in line "
                f"{lines[name.value]}. Remove one."
            )
        lines[name.value] = line
        _check_keys(path, item, inner, seen)


def _yaml_files(folder: Path) -> Sequence[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if name.endswith((".yaml", ".yml"))]


def first_line(error: BaseException) -> str:
    """Return an error in one line, without OmegaConf's and PyYAML's notes on where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        return error.problem
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
