"""Loads torch and the libraries that a run needs, all at once, in half the time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from contrail.compat.torchvision import repair

# Module and name: transformers and trl import the module that defines a name when it is first read.
_NEEDED = (
    ("torch", "nn"),
    ("transformers", "AutoModelForCausalLM"),
    ("transformers", "AutoTokenizer"),
    ("peft", "PeftModel"),
    ("trl", "GRPOTrainer"),
    ("contrail.compat.avalanche", "BaseTemplate"),
)


def load_libraries(*, quiet: bool = True) -> None:
    """Import torch, transformers, peft, trl and Avalanche, unless they have been imported.

    Importing contrail's own modules would import them, too, but more slowly.

    Args:
        quiet: print no message about the seconds that this takes.
    """
    if "trl" in sys.modules:
        return
    if not quiet:
        print("loading torch, transformers, peft, trl …", file=sys.stderr, flush=True)
    repair()
    with _without_collections(), _deferred("wandb", run=None):
        for module, name in _NEEDED:
            getattr(import_module(module), name)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Context manager: no garbage collection. Imported objects stay, and searching all of them
    again and again takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
    gc.freeze()


@contextmanager
def _deferred(name: str, **attributes: Any) -> Iterator[None]:
    """Context manager: importing the package `name` loads it when an attribute is first read.

    `attributes` have values that are known before: transformers reads `wandb.run` to see whether
    wandb is installed.
    """
    finder = _Finder(name, attributes)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self._name = name
        self._attributes = attributes

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader, self._attributes)
        return spec


class _DeferringLoader(Loader):
    def __init__(self, loader: Loader, attributes: dict[str, Any]) -> None:
        self._loader = loader
        self._attributes = attributes

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        vars(module).update(self._attributes)
        del module.__path__  # so that importing a submodule loads the package first
        module.__class__ = _Deferred


class _Deferred(ModuleType):
    """A package that is loaded when it is asked for an attribute that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        assert spec.submodule_search_locations is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__path__ = spec.submodule_search_locations
        spec.loader.exec_module(self)
        return getattr(self, name)
