"""Repairs torchvision in every process of an environment where it is broken.

Copied into site-packages by `python -m contrail.compat.torchvision`, beside a .pth file that
imports it when the interpreter starts; so it stands on its own, and does nothing until somebody
imports torchvision. Why it is needed is told in torchvision.py.
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
