"""Reading data files that a user has put somewhere; shared by several environments."""

from __future__ import annotations

import gzip
import html
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contrail import ConfigError

HALF = re.compile(r"\\u[dD][89a-fA-F]")  # JSON writes them as escapes: UTF-8 cannot hold them
SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def data_files(directory: Path) -> list[Path]:
    """Return the JSON files of a directory, by name.

    Raises:
        ConfigError: the directory cannot be read.
    """
    try:
        return sorted(
            path
            for path in directory.iterdir()
            if path.name.lower().endswith(SUFFIXES) and path.is_file()
        )
    except OSError as error:
        raise _unreadable(directory, str(error.strerror or error)) from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; of JSON lines, a list. Either may be gzipped.

    Halves of surrogate pairs, which cut texts end with, become U+FFFD: no text with one could be
    written or hashed.

    Raises:
        ConfigError: it cannot be read; the message names the file, and the line if known.
    """
    raw = b""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(path, f"it is not UTF-8 (line {line}, byte {error.start})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unreadable(path, f"the gzip file is damaged: {error}") from error
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
    if not text.strip():
        raise _unreadable(path, "it is not JSON: it is empty")
    content = _parsed(path, text)
    if not HALF.search(text):
        return content
    with refusing_depth(path):
        return _whole(content)


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not _is_object(lines[0][1]):
            raise _unreadable(path, f"it is not JSON: {error}") from error
    found = []
    for number, line in lines:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise _unreadable(path, f"line {number} is not JSON: {error}") from error
    return found


def _whole(value: Any) -> Any:
    """Return a JSON value without halves of surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _is_object(line: str) -> bool:
    """Return whether the line is a JSON object by itself, as JSON lines are."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"data: {path} cannot be read: {why}. Fetch the file again.")


@contextmanager
def refusing_depth(data: str | Path) -> Iterator[None]:
    """Context manager: refuse values that are nested too deeply to be read.

    Raises:
        ConfigError: some are.
    """
    try:
        yield
    except RecursionError as error:
        raise _unreadable(Path(data), "some of its values are nested too deeply") from error


def plain_text(value: Any) -> str:
    """Return the plain text of a field's value; "" for none."""
    if value is None or isinstance(value, bool) or value != value:
        return ""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return " ".join(filter(None, map(plain_text, value)))
    return " ".join(html.unescape(str(value)).split())


def plain_texts(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(filter(None, map(plain_text, items))))
