"""Repairs torchvision in every process of a Python environment in which it is broken.

`python -m contrail.compat.torchvision` copies this file into site-packages, beside a .pth file that
imports it when the interpreter starts. So it imports nothing of contrail, and does nothing until
torchvision is imported. torchvision.py explains the reason.
"""

import sys
from importlib.abc import MetaPathFinder

libraries: list[object] = []


class Finder(MetaPathFinder):
    """Declares the missing operators right before torchvision is first imported."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            for operator in ("nms", "qnms"):
                library.define(operator + signature)
            libraries.append(library)  # a schema lives as long as its library


sys.meta_path.insert(0, Finder())
