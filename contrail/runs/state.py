"""State in a checkpoint: JSON values in state.json, tensors in a safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

TENSORS = "state.safetensors"
_TENSOR = "__tensor__"  # stands in JSON for a tensor, with its name in the file


def separate_tensors(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return the state with names in place of its tensors, and the tensors by name.

    Raises:
        TypeError: it holds what JSON would not give back as it was.
    """
    tensors: dict[str, torch.Tensor] = {}

    def plain(value: Any, place: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[place] = value
            return {_TENSOR: place}
        if isinstance(value, dict):
            wrong = [key for key in value if not isinstance(key, str) or key == _TENSOR]
            if wrong:
                raise TypeError(f"{place}: the key {wrong[0]!r} is not text that JSON can keep")
            return {key: plain(item, f"{place}/{key}") for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item, f"{place}/{index}") for index, item in enumerate(value)]
        if value is None or isinstance(value, (str, int, float)):
            return value
        kind = type(value).__name__
        number = "int(…) or float(…)" if hasattr(value, "item") else "a list or dict"
        raise TypeError(f"{place}: {kind} is neither a JSON value nor a tensor. Use {number}.")

    return plain(state, "state"), tensors


def join(state: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the opposite of `separate_tensors`."""
    if isinstance(state, dict):
        if _TENSOR in state:
            return tensors[state[_TENSOR]]
        return {key: join(item, tensors) for key, item in state.items()}
    return [join(item, tensors) for item in state] if isinstance(state, list) else state


def save_tensors(tensors: dict[str, torch.Tensor], directory: Path) -> None:
    """Write tensors into a checkpoint's directory; nothing if there are none."""
    if tensors:  # clones: safetensors refuses tensors that share memory
        copies = {name: item.detach().cpu().clone() for name, item in tensors.items()}
        save_file(copies, directory / TENSORS)


def load_tensors(directory: Path) -> dict[str, torch.Tensor]:
    """What `save_tensors` wrote there."""
    file = directory / TENSORS
    return load_file(file) if file.is_file() else {}
