"""Lets torchvision built for CUDA be imported beside a CPU build of torch.

PyPI's torchvision is built for CUDA; beside CPU torch its compiled operators do not load, and then
`import torchvision` raises over an operator whose schema nobody declared. avalanche, peft, trl and
much of transformers import torchvision, though contrail uses none of its operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sysconfig
from pathlib import Path
from typing import Any

_SYMPTOM = "operator torchvision::nms does not exist"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[Any] = []  # a schema lives as long as its torch.library.Library


def repair() -> None:
    """Make `import torchvision` succeed; does nothing where it already does, or is not installed.

    Call it before the first import of avalanche, peft, trl or a transformers model, in every
    process. It imports torch and torchvision, which those packages do anyway.
    """
    if _broken():
        import torch

        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(operator + _SIGNATURE)
        _libraries.append(library)
        importlib.import_module("torchvision")


def install() -> None:
    """Repair this Python environment for good, so that peft and trl can also be imported where
    contrail is not; does nothing where torchvision works, or has been repaired."""
    if _broken():
        target = Path(sysconfig.get_path("purelib"))
        shutil.copy(Path(__file__).with_name("_torchvision_hook.py"), target)
        (target / "_torchvision_hook.pth").write_text("import _torchvision_hook\n")


def _broken() -> bool:
    """Whether importing torchvision fails as one built for another torch does."""
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
