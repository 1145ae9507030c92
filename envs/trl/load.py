"""Objects and rows that the keys of trl name."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail import ConfigError, ContrailError, nearest
from contrail.envs.shared.data_files import read_json
from contrail.plugin_files import import_source


def load_module(name: str) -> Any:
    """Return an installed module, or that of a file.

    Raises:
        ConfigError: there is no such thing, or it cannot be imported.
    """
    if not name:
        raise ConfigError(
            "trl: module is missing. Name the module or file with the class for GRPOTrainer's "
            "`environment_factory`, for example {name: trl, module: wordle.py, factory: Wordle}."
        )
    return _from_file(Path(name)) if name.endswith(".py") else _imported(name)


def member(module: Any, key: str, name: str) -> Any:
    """Return what a key names in the module.

    Raises:
        ConfigError: there is no such thing.
    """
    if not hasattr(module, name):
        known = [other for other in vars(module) if not other.startswith("_")]
        home = getattr(module, "__file__", None) or module.__name__
        raise ConfigError(
            f"trl: {key} is {name!r}: {home} has no such name. {nearest(name, known)}"
        )
    return getattr(module, name)


def load_rows(module: Any, key: str, name: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a file, or of a list, a Dataset, or a function that returns one.

    Raises:
        ConfigError: there are none, or they are no rows.
    """
    if name.endswith((".json", ".jsonl", ".gz")):
        rows: Any = read_json(Path(name))
    else:
        rows = member(module, key, name)
        rows = rows() if callable(rows) else rows
    if not isinstance(rows, Iterable):
        raise ConfigError(f"trl: {key} is a {type(rows).__name__}, and not a list of rows.")
    found: list[Mapping[str, Any]] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            shown = repr(row)[:80]
            raise ConfigError(f"trl: {key}, row {number} is {shown}: it must be a mapping.")
        found.append(row)
    return found


def text_of(prompt: Any, seen: Any) -> str:
    """Return the words of a row's prompt and, after them, those that `reset` returned.

    Raises:
        ContrailError: there is something else than text.
    """
    parts: list[str] = []
    if isinstance(prompt, str):
        parts.append(prompt)
    else:
        parts.extend(_words(message.get("content")) for message in prompt or ())
    parts.append(_words(seen))
    return "\n".join(part for part in parts if part.strip())


def _words(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Sequence):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "\n".join(map(str, texts))
    raise ContrailError(f"trl: the bridge shows texts, and not {repr(content)[:80]}.")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"trl: the module {name} cannot be imported: {error}. Install its package, or name the "
            "file."
        ) from error


def _from_file(path: Path) -> Any:
    """Return the module of a file, loaded once for all of its classes, and anew when edited."""
    path = path.resolve()
    if not path.is_file():
        raise ConfigError(f"trl: module: there is no file {path}.")
    name = f"contrail_trl:{path}:{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    try:
        return import_source(name, path)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"trl: {path} cannot be imported: {error}") from error
