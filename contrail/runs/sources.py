"""Which version of the users' code made a run: a file that is edited in between changes results."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.config import RunConfig
from contrail.registry import Plugins

Versions = dict[str, list[str]]
"""Name of a source file -> the digests of its versions, in the order in which they were used."""
DIGITS = 16  # of a digest


def source_files(config: RunConfig, plugins: Plugins) -> dict[str, str]:
    """Return the digests of the source files that a run uses, by name; not those of contrail.

    These are the plugin files that the configuration names, the files that settings of its
    environments and objectives name (code and data, such as `module` and `rows` of trl, but no
    folders), and the files of the classes of its environments, adapters, strategies and
    objectives. A class that was typed into a notebook has no file.
    """
    named = {Path(name) for name in config.plugins}
    learnt = [stage.learn for stage in config.stream]
    if config.warmup is not None:
        learnt.append(config.warmup.learn)
    for component in (*config.environments, *learnt):
        named.update(_named_in(component.settings), _named_in(component))
    labels = [item.label for item in config.environments]
    used: list[type[Any]] = [
        *(plugins.environments[item.name].value for item in config.environments),
        *(plugins.adapters[config.adapter_of(label).name].value for label in labels),
        *(plugins.strategies[item.name].value for item in config.strategies),
        *(plugins.objectives[item.name].value for item in learnt),
    ]
    own = Path(__file__).parents[1]
    for cls in used:
        try:
            path = Path(inspect.getfile(cls))
        except (TypeError, OSError):
            continue
        if cls.__module__.partition(".")[0] != own.name:
            named.add(path)
    return {"/".join(path.parts[-2:]): _digest(path) for path in sorted(named) if path.is_file()}


def _named_in(settings: Any) -> Iterator[Path]:
    """Yield the paths in the fields that hold one: see `contrail.config.convert.build`."""
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if "path" in item.metadata and isinstance(value, str):
            yield Path(value)


def _digest(path: Path) -> str:
    found = path.stat()
    return _digest_then(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=256)
def _digest_then(path: Path, changed: int, size: int) -> str:
    """Return the digest of a file, which may be large: it is read once for each of its states."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def merged(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> Versions:
    """Return the versions of a run that goes on with other files."""
    found = {name: list(versions) for name, versions in before.items()}
    for name, digest in now.items():
        versions = found.setdefault(name, [])
        if digest not in versions[-1:]:
            versions.append(digest)
    return found


def edited(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> list[str]:
    """Return the files that are not what they were when a run, or a part of it, was made."""
    return [name for name, digest in now.items() if set(before.get(name, [digest])) != {digest}]


def differing(runs: Sequence[Mapping[str, Sequence[str]]]) -> list[str]:
    """Return the files of which runs, or parts of them, were made with several versions."""
    names = dict.fromkeys(name for versions in runs for name in versions)
    return [
        name
        for name in names
        if len({digest for versions in runs for digest in versions.get(name, ())}) > 1
    ]
