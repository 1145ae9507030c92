"""Finds the model that a stream file names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from contrail.errors import ConfigError, nearest
from contrail.registered import Table


def find_model(name: str, directory: Path, models: Table[Any]) -> str:
    """Return a model's registered name or hub id as it is; a directory's absolute path.

    Args:
        name: as it is written.
        directory: of the stream file.
        models: the registered ones.

    Raises:
        ConfigError: no model is meant by this name.
    """
    if name in models:
        return name
    written = os.path.expanduser(name)
    for base in (directory, Path.cwd()):
        if name and os.path.isdir(base / written):
            path = (base / written).resolve()
            _check(path)
            return str(path)
        if name and os.path.isfile(base / written):
            raise ConfigError(f"{name!r} is a file. Name the directory it is in.", key=("model",))
    if written.startswith(("/", "./", "../")):
        raise ConfigError(f"there is no directory {name!r}. Check the path.", key=("model",))
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        raise ConfigError(
            f"no model is called {name!r}. {nearest(name, models)} "
            "Or give a directory, or a hub id, owner/name.",
            key=("model",),
        )
    return name


def _check(directory: Path) -> None:
    """Refuse a directory that holds neither a model nor a LoRA nor a run."""
    if (directory / "adapter_config.json").is_file():
        return
    if (directory / "config.yaml").is_file() and (directory / "checkpoints").is_dir():
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
        raise ConfigError(f"{directory} has no {', no '.join(missing)}. {hint}", key=("model",))
