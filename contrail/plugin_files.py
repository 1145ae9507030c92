"""Imports plugin files, and says what is wrong with one."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from contrail.errors import PluginError, boundary, message_of, nearest

FILE_PREFIX = "contrail_plugin_"  # of the names under which plugin files are imported


def plugin_file(name: str) -> str | None:
    """Return the plugin file that a command line names, or that is in the folder it names.

    Args:
        name: the path of a .py file or of a folder; or a registered name, for which None is
            returned.

    Raises:
        PluginError: the folder has no plugin file, or several; or it is a stream file.
    """
    path = Path(name).expanduser()
    if name.endswith(".py"):
        return name
    if name.endswith((".yaml", ".yml")) and path.is_file():
        raise PluginError(
            f"{name} is a stream file, and no plugin. `contrail run {name} --dry-run` reads it, "
            "and says what it would cost."
        )
    if not path.is_dir():
        return None
    found = [file for file in sorted(path.glob("*.py")) if _has_hooks(file)]
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise PluginError(
            f"{name} is a folder without a plugin file: none of its .py files uses "
            "@contrail.hookimpl. Name the file."
        )
    raise PluginError(
        f"{name} is a folder with several plugin files. Name one of them: "
        f"{', '.join(map(str, found))}."
    )


def _has_hooks(file: Path) -> bool:
    try:
        return "hookimpl" in file.read_text(errors="replace")
    except OSError:
        return False  # whoever names the file itself is told


class _SourceOnly(SourceFileLoader):
    """Compiles a file each time, and writes no __pycache__ beside it.

    Python takes bytecode for that of a source of the same size and the same second. A run would
    use the code of before an edit, and record the digest of the edited file.
    """

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError  # without the age of its source, bytecode is neither read nor written


def load_file(path: Path) -> ModuleType:
    """Import a plugin file, under a name that is the same in every process."""
    # A name of its own, so that guess.py never shadows, or is, an installed module.
    unique = f"{FILE_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    return import_source(unique, path)


def import_source(unique: str, path: Path) -> ModuleType:
    """Import a file as it is now, under a name.

    Raises:
        Exception: whatever the file raises; the name is then free again.
    """
    loader = _SourceOnly(unique, str(path))
    spec = importlib.util.spec_from_file_location(unique, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # what dataclasses and pickle look a class's module up by
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def no_such_hook(name: str, source: str, reason: str, hooks: Iterable[str]) -> str:
    """Return the message for a plugin with a hook that is none.

    Args:
        name: of the plugin.
        source: its module or file.
        reason: pluggy's.
        hooks: all that there are.
    """
    where = f"plugin {name!r}" + (f" ({source})" if source else "")
    if unknown := re.match(r"unknown hook '(\w+)'", reason):
        return f"{where}: there is no hook {unknown[1]}. {nearest(unknown[1], hooks)}"
    return f"{where}: {reason}. Hooks: {', '.join(hooks)}."


def no_plugin(value: object) -> str:
    """Return the message for what is given as a plugin from Python, and is none."""
    return (
        f"{value!r} is no plugin: give a plugin file, a module, an episode metric, or a subclass "
        "of contrail.Environment, contrail.Adapter, contrail.Strategy or contrail.Objective. A "
        "function with @contrail.hookimpl belongs into a plugin file or a module."
    )


def same_file(module: Any, path: Path) -> bool:
    """Return whether a plugin's module is a file, or an installed copy of it."""
    own = Path(getattr(module, "__file__", None) or "")
    if own.name != path.name or not path.is_file():
        return False
    return own.samefile(path) or own.read_bytes() == path.read_bytes()


def installed_copy(module: Any, path: Path) -> bool:
    """Return whether a plugin's module seems to be another version of a file, from a package."""
    name = getattr(module, "__name__", "")
    if name.startswith(FILE_PREFIX) or name.partition(".")[0] == "contrail":
        return False
    own = Path(getattr(module, "__file__", None) or "")
    parts = 2 if path.name == "__init__.py" else 1
    return own.parts[-parts:] == path.parts[-parts:]


def other_version(plugin: str, module: Any, path: Path) -> str:
    """Return the message for a plugin file of which another version is installed."""
    return (
        f"plugin file {path} is not as it is in the package that is installed, plugin {plugin!r} "
        f"({module.__file__}), and only one of the two can be loaded. Install the package with "
        "`pip install -e`, so that there is one version; or uninstall it; or do not name the file "
        "under `plugins`, to use the one that is installed."
    )


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
            f"{_beside(error, Path(source))}"
        )

    with boundary(blame):
        return load()


def _beside(error: BaseException, source: Path) -> str:
    """Return advice where a plugin file imports a file or a package that stands beside it."""
    if not isinstance(error, ImportError) or source.suffix != ".py":
        return ""
    relative = "no known parent package" in str(error)
    wanted = (error.name or "").partition(".")[0]
    folder = source.parent
    there = bool(wanted) and ((folder / f"{wanted}.py").is_file() or (folder / wanted).is_dir())
    if not relative and not there:
        return ""
    what = "Its files" if relative else f"{wanted} is beside it, and"
    return (
        f". {what} cannot be imported by a plugin file, which is loaded alone. Set "
        f"PYTHONPATH={folder} and import by the plain name, or make a package of them and install "
        "it with pip."
    )


def innermost(error: BaseException, source: str) -> str:
    """Where in the plugin's own file an error arose, as "; FILE line N"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"; {error.filename} line {error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [number for frame, number in frames if frame.f_code.co_filename == source]
    return f"; {source} line {lines[-1]}" if lines else ""
