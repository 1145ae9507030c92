"""Finds the model that a stream file names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contrail.errors import ConfigError, Key, nearest
from contrail.files import OWN, is_path
from contrail.registry.registered import Table

COPIES = ("checkpoints/000/adapter_config.json", "adapter_config.json")
"""Beside a configuration, a LoRA: that a run began with, or that it has been exported with."""


def find_model(name: str, directory: Path, models: Table[Any], key: Key | None = ("model",)) -> str:
    """Return a model's registered name or hub id as it is; a directory's absolute path.

    Args:
        name: as it is written.
        directory: of the stream file, or the working directory.
        models: the registered ones.
        key: where the name is written; None for the command line.

    Raises:
        ConfigError: no model is meant by this name. A run's own configuration may name a directory
            that is gone, since it has a copy of the LoRA.
    """
    if name in models:
        return name
    written = os.path.expanduser(name)
    bases = list(dict.fromkeys((directory.absolute(), Path.cwd())))
    for base in bases:
        if name and os.path.isdir(base / written):
            path = (base / written).resolve()
            _check(path, key)
            return str(path)
        if name and os.path.isfile(base / written):
            raise ConfigError(f"{name!r} is a file. Name the directory it is in.", key=key)
    if os.path.isabs(written) and any((directory / copy).is_file() for copy in COPIES):
        return written
    is_id = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name)
    if is_path(name, *bases):
        owner = name.partition("/")[0]
        hint = ""
        if is_id and owner not in OWN:
            hint = f" For a hub id, run it where there is no directory {owner!r}."
        raise ConfigError(
            f"there is no run {name}, and no directory of a model or a LoRA. "
            f"{_beside(written, bases)}{hint}",
            key=key,
        )
    if not is_id:
        raise ConfigError(
            f"no model is called {name!r}. {nearest(name, models)} "
            "Or give a directory, or a hub id, owner/name.",
            key=key,
        )
    return name


def _beside(written: str, bases: Sequence[Path]) -> str:
    """Return a hint to the directory that a path comes nearest to, or to where runs are."""
    folder, _, last = written.rstrip("/").rpartition("/")
    above = folder or ("/" if written.startswith("/") else "")
    beside = [
        item.name
        for base in bases
        if (base / above).is_dir()
        for item in (base / above).iterdir()
        if item.is_dir()
    ]
    close = difflib.get_close_matches(last, beside, n=1)
    return f"Did you mean {os.path.join(above, close[0])!r}?" if close else "Check the path."


def _check(directory: Path, key: Key | None) -> None:
    """Refuse a directory that holds neither a model nor a LoRA nor a run."""
    if (directory / "adapter_config.json").is_file():
        return
    if (directory / "config.yaml").is_file():
        return
    needed = {
        "config.json": ("config.json",),
        "weights (*.safetensors or pytorch_model*.bin)": (
            "*.safetensors",
            "pytorch_model*.bin",
        ),
        "tokenizer (tokenizer.json, tokenizer.model or vocab.*)": (
            "tokenizer.json",
            "*.model",
            "vocab.*",
            "*.tiktoken",
        ),
    }
    missing = [
        what
        for what, patterns in needed.items()
        if not any(item.is_file() for pattern in patterns for item in directory.glob(pattern))
    ]
    if missing:
        hint = "Save both the model and its tokenizer there with save_pretrained."
        raise ConfigError(
            f"{directory} has no {', no '.join(missing)}; nor is it a run or a LoRA. {hint}",
            key=key,
        )
