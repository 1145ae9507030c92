"""The parts of Avalanche that contrail builds on, without the rest.

Avalanche's packages import all benchmarks, metrics and loggers, and with them torchvision,
torchmetrics, wandb, matplotlib and scipy: two seconds and 150 MB in every process. Here only the
modules of `CLExperience`, `EagerCLStream` and `BaseTemplate` are loaded, under their own names.
When somebody imports a package of Avalanche later, it is loaded in full, around the modules that
are there already; so the classes are the same for all.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from contrail.compat.torchvision import repair

# The packages whose `__init__` is not needed; parents first.
_PACKAGES = (
    "avalanche",
    "avalanche.benchmarks",
    "avalanche.benchmarks.scenarios",
    "avalanche.benchmarks.utils",
    "avalanche.models",
    "avalanche.training",
    "avalanche.training.templates",
)
_STREAM = "avalanche.benchmarks.scenarios.generic_scenario"
_TEMPLATE = "avalanche.training.templates.base"
_UNUSED = (
    ("avalanche.training.utils", "OnlineCLExperience"),
    ("avalanche.training.templates.strategy_mixin_protocol", "DatasetExperience"),
)
"""Classes of `avalanche.benchmarks` that the modules only name: module, class."""


class _NotLoaded:
    """Replaces a class that is not loaded, so that nothing is an instance of it."""


class _Packages(MetaPathFinder):
    """Finds the packages in full, after their modules have been loaded without them."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _PackageLoader(fullname, spec.origin)
        return spec


class _PackageLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        # Importing a module binds it in its package, but these have been imported before.
        for name, loaded in list(sys.modules.items()):
            package, _, child = name.rpartition(".")
            if package == module.__name__:
                setattr(module, child, loaded)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing solver that nothing here uses
            super().exec_module(module)
        if module.__name__ == "avalanche":
            for user, name in _UNUSED:
                setattr(sys.modules[user], name, getattr(module.benchmarks, name))


def _load() -> tuple[ModuleType, ModuleType]:
    """Load the modules of the stream and of the template, and their imports."""
    spec = find_spec("avalanche")
    if "avalanche" in sys.modules or spec is None or spec.origin is None:
        return import_module(_STREAM), import_module(_TEMPLATE)  # loaded in full, or an error
    root = Path(spec.origin).parent
    for name in _PACKAGES:
        package = ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    try:
        stream = import_module(_STREAM)
        names: dict[str, Any] = {name: _NotLoaded for _, name in _UNUSED}
        names.update(CLExperience=stream.CLExperience, CLStream=stream.CLStream)
        vars(sys.modules["avalanche.benchmarks"]).update(names)
        template = import_module(_TEMPLATE)
    finally:
        for name in _PACKAGES:
            del sys.modules[name]
    sys.meta_path.insert(0, _Packages())
    return stream, template


repair()
_stream, _template = _load()
CLExperience: Any = _stream.CLExperience
EagerCLStream: Any = _stream.EagerCLStream
BaseTemplate: Any = _template.BaseTemplate

__all__ = ["BaseTemplate", "CLExperience", "EagerCLStream"]
