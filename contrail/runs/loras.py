"""The LoRAs that a path stands for, found without loading any."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from contrail.errors import ContrailError
from contrail.runs.directory import STATE, RunDirectory
from contrail.runs.position import Position

ANY = "*"
"""Stands for every environment that has no LoRA of its own."""
SPECIALISED = ("isolated", "adapters")
"""Strategies after whose stages a checkpoint holds the LoRA of the stage's environment alone."""
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def lora_directories(path: Path) -> dict[str, Path]:
    """Return the LoRA of each environment; "*" stands for all others.

    Args:
        path: a directory as PEFT saves a LoRA, such as a checkpoint; or a run. A run of the
            strategy `isolated` has a LoRA for each environment, the one after its last stage; of
            any other run the newest checkpoint serves all environments.

    Raises:
        ContrailError: there is none, or not all have been trained yet.
    """
    if not path.is_dir():
        raise ContrailError(f"there is no directory {str(path)!r}. Check the path.")
    files = RunDirectory(path)
    if not (files.config.is_file() and files.checkpoint_folder.is_dir()):
        missing = [name for name in _FILES if not (path / name).is_file()]
        if missing:
            raise ContrailError(
                f"{path} is neither a run nor a LoRA: it has no {' and no '.join(missing)}."
            )
        return {ANY: path}
    try:
        values = yaml.safe_load(files.config.read_text())
        strategy = values["strategy"]
        first = 2 if values.get("warmup") else 1  # the row of R after the first stage
        labels = [stage["environment"]["label"] for stage in values["stream"]]
        name = strategy["name"] if isinstance(strategy, dict) else None
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        raise ContrailError(f"{files.config} cannot be read: {error}") from error
    if name not in SPECIALISED:
        newest = files.last_checkpoint()
        if newest is None:
            raise ContrailError(f"{path} has no checkpoint yet. Wait for the run.")
        return {ANY: newest[0]}
    found = {label: files.checkpoint(Position(row)) for row, label in enumerate(labels, first)}
    for label, directory in found.items():
        if not (directory / _FILES[1]).is_file():
            raise ContrailError(
                f"{path} has no checkpoint {directory.name} yet, which holds the LoRA of "
                f"{label!r}. Wait for the run."
            )
    return found


def trained_on(directory: Path) -> list[dict[str, Any]] | None:
    """Return the environments that a LoRA has been trained on, with their keys in config.yaml; None
    if that is not known, as of a LoRA that is no run's.

    Args:
        directory: of the LoRA: a checkpoint, or an export.
    """
    try:
        config, record = RunDirectory(directory.resolve().parents[1]).config, directory / STATE
        if not record.is_file():  # `contrail export` keeps these beside the LoRA
            config, record = directory / "config.yaml", directory / "result.json"
        values = yaml.safe_load(config.read_text())
        state = json.loads(record.read_text())
        played, strategy = state["played"], values["strategy"]
        if isinstance(strategy, dict) and strategy["name"] in SPECIALISED:
            played = [*(played[:1] if values.get("warmup") else ()), *played[-1:]]
        labels = {label for stage in played for label in stage}
        own = [stage["environment"] for stage in values["stream"]]
        found = [item for item in own if item["label"] in labels]
        for item in (state.get("begun_from") or {}).get("history", ()):  # what it began with
            found.append({"label": item["label"], "name": item["name"], **item["settings"]})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return None
    return found


def lora_digest(directory: Path) -> str:
    """Return a digest of a LoRA's settings and weights, 16 hexadecimal digits.

    Raises:
        ContrailError: its files cannot be read.
    """
    try:
        settings = json.loads((directory / _FILES[0]).read_text())
        weights = (directory / _FILES[1]).read_bytes()
    except (OSError, ValueError) as error:
        raise ContrailError(f"{directory}: the LoRA cannot be read: {error}") from error
    digest = hashlib.sha256(json.dumps(_ordered(settings), sort_keys=True).encode())
    digest.update(weights)
    return digest.hexdigest()[:16]


def _ordered(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the order of lists: PEFT writes sets as they come."""
    return {
        name: sorted(value, key=str) if isinstance(value, list) else value
        for name, value in settings.items()
    }
