"""Reading data files that a user has put somewhere; shared by several environments."""

from __future__ import annotations

import gzip
import html
import json
import zlib
from pathlib import Path
from typing import Any

from contrail import ConfigError

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def data_files(directory: Path) -> list[Path]:
    """Return the JSON files of a directory, by name."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.name.lower().endswith(SUFFIXES) and path.is_file()
    )


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; of JSON lines, a list. Either may be gzipped.

    Raises:
        ConfigError: it cannot be read; the message names the file, and the line if known.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 (byte {error.start})") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _unreadable(path, f"the gzip file is damaged: {error}") from error
    except OSError as error:
        raise _unreadable(path, str(error.strerror or error)) from error
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


def _is_object(line: str) -> bool:
    """Return whether the line is a JSON object by itself, as JSON lines are."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"data: {path} cannot be read: {why}. Fetch the file again.")


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
