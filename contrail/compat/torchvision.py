"""Lets torchvision built for CUDA be imported beside a CPU build of torch.

PyPI's torchvision is built for CUDA; beside CPU torch its compiled operators do not load, and then
`import torchvision` raises over an operator whose schema nobody declared. avalanche, peft, trl and
much of transformers may import torchvision, though contrail uses none of its operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import sysconfig
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_SYMPTOM = "operator torchvision::nms does not exist"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []  # a schema lives as long as its torch.library.Library


def repair() -> None:
    """Make `import torchvision` succeed in this process, without importing it.

    It does nothing if torchvision works or is not installed. Call it in every process before the
    first import of avalanche, peft, trl or a transformers model.
    """
    if "torchvision" in sys.modules or any(isinstance(it, _Finder) for it in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision, and has it loaded with the repair."""

    _asking = False

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision" or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _RepairingLoader(spec.loader)
        return spec


class _RepairingLoader(Loader):
    """Loads as `loader` does; on the symptom it declares the operators and loads again."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self._loader.exec_module(module)
        except RuntimeError as error:
            if _SYMPTOM not in str(error):
                raise
            _declare()
            self._loader.exec_module(module)


def _declare() -> None:
    """Declare the operators whose compiled code could not be loaded."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)
    _libraries.append(library)


def install() -> None:
    """Repair this Python environment permanently, so that peft and trl can be imported without
    contrail; do nothing if torchvision works, or has been repaired."""
    if _broken():
        target = Path(sysconfig.get_path("purelib"))
        shutil.copy(Path(__file__).with_name("_torchvision_hook.py"), target)
        (target / "_torchvision_hook.pth").write_text("import _torchvision_hook\n")


def _broken() -> bool:
    """Return whether importing torchvision fails as one built for another torch does."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        return True
    return False


if __name__ == "__main__":
    install()
