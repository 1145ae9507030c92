"""Keys that any environment may have in stream.yaml: the interface shift, and pass rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contrail.config.convert import build, check_keys
from contrail.config.schema import EnvironmentConfig, names, task_source
from contrail.config.source import show
from contrail.environment import Environment
from contrail.errors import ConfigError, Key
from contrail.shift.shifted import Shift, check_alias
from contrail.tasks.split import TaskSplit, digest, read_rates


def read_shift(value: Any, key: Key, name: str, cls: type[Environment]) -> Shift | None:
    """Return the interface shift that is written at a key of an environment; None for none.

    Raises:
        ConfigError: a value is wrong, or the environment does not offer the shift.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        message = f"{show(value)} is not a mapping. Write for example `shift: {{alias: 1}}`."
        raise ConfigError(message, key=key)
    shift = build(Shift, value, key)
    try:
        check_alias(shift, name, cls.forms)
    except ConfigError as error:
        raise ConfigError(str(error), key=(*key, "alias")) from error
    return shift


def read_pass_rates(
    value: Any, key: Key, environment: EnvironmentConfig, directory: Path
) -> TaskSplit:
    """Return the pass rates that are written at a key: a file, or a mapping with its digest.

    Raises:
        ConfigError: the file is missing, has changed since, or has no tasks of the environment.
    """
    written = value if isinstance(value, dict) else {"file": value}
    check_keys(key, written, names(TaskSplit))
    name, known = written.get("file"), written.get("sha256")
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{show(value)} is not a file. Write the name of one that `contrail split` has "
            "written.",
            key=key,
        )
    # `contrail split` writes it into the working directory, unless it is told otherwise.
    places = [(base / Path(name).expanduser()).resolve() for base in (directory, Path.cwd())]
    path = next((place for place in places if place.exists()), places[0])
    try:
        found = digest(path)
        read_rates(path, task_source(environment))
    except ConfigError as error:
        raise ConfigError(str(error), key=key) from error
    if known is not None and known != found:
        raise ConfigError(
            f"{path} has changed since the run began. Restore it, or begin another run.", key=key
        )
    return TaskSplit(str(path), found)
