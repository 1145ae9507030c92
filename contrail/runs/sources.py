"""Which versions of the users' files made a run: what changes in between changes results."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.config import RunConfig
from contrail.registry.plugins import Plugins
from contrail.runs.directory import RunDirectory

Versions = dict[str, list[str]]
"""Name of a source file -> the digests of its versions, in the order in which they were used."""
DIGITS = 16  # of a digest
MODEL = (
    *("config.json", "adapter_config.json", "tokenizer*.json", "chat_template.jinja"),
    *("*.safetensors", "pytorch_model*.bin"),
)
"""The files of a model's directory that its policy depends on."""
BLOCK = 1 << 20  # bytes
BLOCKS = 64
"""Of a larger file so many are read, evenly spaced: training changes weights everywhere."""


def source_files(config: RunConfig, plugins: Plugins) -> dict[str, str]:
    """Return the digests of the source files that a run uses, by name; not those of contrail.

    These are the plugin files that the configuration names; the files that settings of its
    environments and objectives name (code and data, such as `module` and `rows` of trl; of folders
    only runs, whose episodes are recorded); the files of the classes of its environments, adapters,
    strategies and objectives; and the directory of its model, if it has one. A class that was typed
    into a notebook has no file.
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
    names = _names(named)
    found = {names[path]: _digest(path) for path in sorted(named) if path.is_file()}
    for path in sorted(named):
        if episodes := list(path.glob("episodes/*.jsonl.gz")):
            found[names[path]] = _digest_all(episodes)
    model = _model_directory(config)
    return found if model is None else {**found, _name(model): _digest_model(model)}


def begun_with(
    config: RunConfig, before: Mapping[str, Sequence[str]], now: Mapping[str, str]
) -> dict[str, str]:
    """Return the versions that a run goes on with: the files as they are `now`, but for the LoRA
    that it began from, of which it has a copy."""
    model = _model_directory(config)
    if model is None or not before.get(_name(model)) or (model / "config.json").is_file():
        return dict(now)
    return {**now, _name(model): before[_name(model)][-1]}


def _name(path: Path, parts: int = 2) -> str:
    return "/".join(path.parts[-parts:])


def _names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return a name of each path: its last two parts, or more where two would be named alike."""
    names = {path: _name(path) for path in paths}
    for path in names:
        parts = 2
        while any(_name(other, parts) == _name(path, parts) for other in names if other != path):
            parts += 1
        names[path] = _name(path, parts)
    return names


def _model_directory(config: RunConfig) -> Path | None:
    """Return the directory that the configuration names as its model: weights, a LoRA, a run."""
    path = Path(config.model)  # absolute, unless it is a registered name or one of a hub
    return path if path.is_absolute() and path.is_dir() else None


def _digest_model(directory: Path) -> str:
    newest = None
    if (directory / "config.yaml").is_file():  # a run
        newest = RunDirectory(directory).last_checkpoint()
    place = directory if newest is None else newest[0]
    return _digest_all({path for pattern in MODEL for path in place.glob(pattern)})


def _digest_all(files: Iterable[Path]) -> str:
    text = "\n".join(f"{path.name} {_digest(path)}" for path in sorted(files))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


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
        if size <= BLOCK * BLOCKS:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
        found = hashlib.sha256(str(size).encode())
        for number in range(BLOCKS):
            file.seek((size - BLOCK) * number // (BLOCKS - 1))
            found.update(file.read(BLOCK))
        return found.hexdigest()[:DIGITS]


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
