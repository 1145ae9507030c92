"""The reports of finished runs, with the plugins that their own configurations name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from contrail.config import load_plugin, load_tracker
from contrail.errors import ContrailError
from contrail.names import visible
from contrail.registry.observers import DEFAULT_TRACKERS, Observers
from contrail.registry.plugins import Plugins


def observers_of(
    directory: Path, runs: Sequence[Path], plugins: Plugins
) -> tuple[Observers, list[str]]:
    """Return what calls the reports of a run or a comparison.

    Args:
        directory: of the run or the comparison.
        runs: the directory of the run, or those of the comparison's runs.
        plugins: the loaded ones; those that the runs' configurations name are added.

    Returns:
        The hooks, and a line for each plugin that could not be loaded.
    """
    failed: dict[str, str] = {}
    trackers: dict[str, None] = {}
    for run in runs:
        file = run / "config.yaml"
        try:
            config = yaml.safe_load(file.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            failed[str(file)] = (
                f"{file} cannot be read, so the run's own reports are not made: {error}"
            )
            continue
        config = config if isinstance(config, dict) else {}
        chosen = config.get("trackers", DEFAULT_TRACKERS)
        trackers |= dict.fromkeys(chosen)
        for load, names in ((load_plugin, config.get("plugins", ())), (load_tracker, chosen)):
            for name in names:
                try:
                    load(plugins, name, run)
                except (ContrailError, ValueError, OSError) as error:
                    failed[name] = (
                        f"plugin {visible(name)!r} of {run} cannot be loaded, so its reports are "
                        f"not made: {error} Put it back, or correct it, and report again."
                    )
    return Observers(plugins, directory, trackers=tuple(trackers)), list(failed.values())
