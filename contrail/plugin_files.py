"""Imports plugin files, and says what is wrong with one."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from contrail.errors import PluginError, boundary, message_of

FILE_PREFIX = "contrail_plugin_"  # of the names under which plugin files are imported


def load_file(path: Path) -> ModuleType:
    """Import a plugin file, under a name that is the same in every process."""
    # A name of its own, so that guess.py never shadows, or is, an installed module.
    unique = f"{FILE_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def same_file(module: Any, path: Path) -> bool:
    """Return whether a plugin's module is a file, or an installed copy of it."""
    own = Path(getattr(module, "__file__", None) or "")
    if own.name != path.name or not path.is_file():
        return False
    return own.samefile(path) or own.read_bytes() == path.read_bytes()


def importing(name: str, source: str, load: Callable[[], ModuleType]) -> ModuleType:
    """Return what `load` imports.

    Args:
        name: of the plugin.
        source: its module or file.
        load: imports it.

    Raises:
        PluginError: it cannot be imported.
    """

    def blame(error: BaseException) -> PluginError:
        where = innermost(error, source)
        return PluginError(
            f"plugin {name!r} ({source}) cannot be imported: {message_of(error)}{where}"
        )

    with boundary(blame):
        return load()


def innermost(error: BaseException, source: str) -> str:
    """Where in the plugin's own file an error arose, as "; FILE line N"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"; {error.filename} line {error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [number for frame, number in frames if frame.f_code.co_filename == source]
    return f"; {source} line {lines[-1]}" if lines else ""
