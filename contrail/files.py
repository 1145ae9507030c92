"""Files that are written whole or not at all, and names that are paths."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

OWN = ("runs", "exports")
"""The directories that contrail writes to by default."""


def is_path(name: str, *directories: Path) -> bool:
    """Return whether a name of a model or a policy is a path, and not a hub id.

    A hub id is `owner/name`. A text of that form is a path if `owner` is in one of the directories,
    or where runs are by default: a mistyped run must not be looked up at the hub.

    Args:
        name: as it is written.
        directories: in which a relative path may start; none for a name that is resolved already.
    """
    if name.startswith(("/", ".", "~")) or name.endswith("/") or name.count("/") > 1:
        return True
    owner = name.partition("/")[0]
    if not owner or owner in OWN:
        return bool(owner)
    return any((directory / owner).is_dir() for directory in directories)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, sync it and rename it: readers see the old or the new."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
