"""Loads the plugins and trackers that a configuration names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from contrail.errors import PluginError
from contrail.registry.observers import TRACKERS
from contrail.registry.plugins import Plugins


def load_plugin(plugins: Plugins, name: str, directory: Path) -> str:
    """Load a plugin that a stream file names, if it is not loaded yet.

    Args:
        plugins: the loaded ones, to which it is added.
        name: of a module, or the path of a file, relative to `directory`.
        directory: of the stream file.

    Returns:
        The module's name, or the absolute path of the file.

    Raises:
        PluginError: it cannot be loaded.
    """
    is_file = name.endswith(".py") or os.sep in name
    path = str((directory / os.path.expanduser(name)).resolve()) if is_file else name
    if plugins.find(path) is None:
        plugins.add_named(path, directory)
    return path


def load_tracker(plugins: Plugins, name: str, directory: Path) -> str:
    """Load a tracker that a stream file names, if it is not loaded yet.

    Args:
        plugins: the loaded ones, to which it is added.
        name: of a tracker that ships; or a module or file, as of any plugin.
        directory: of the stream file.

    Returns:
        The name, or the absolute path of the file.

    Raises:
        PluginError: it cannot be loaded.
    """
    if name not in TRACKERS:
        return load_plugin(plugins, name, directory)
    if all(plugin.name != name for plugin in plugins.info()):
        if importlib.util.find_spec(name) is None:
            raise PluginError(
                f"the package {name} is not installed. Try: pip install 'contrail[{name}]'."
            )
        module = f"contrail.plugins.trackers.{name}"
        plugins.add(importlib.import_module(module), name, "-", module)
    return name
