"""Strategies named by `module:Class`: a strategy's class, or a plugin of Avalanche."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from contrail.errors import ConfigError, PluginError, boundary, describe_error
from contrail.plugin_files import load_file
from contrail.strategy import Strategy

if TYPE_CHECKING:
    import numpy
    import torch

    from contrail.episode import Episode
    from contrail.training.learner import Learner

TRIGGERED = (
    "before_training",
    "before_training_exp",
    "before_training_iteration",
    "before_backward",
    "after_training_iteration",
    "after_training_exp",
    "after_training",
    "before_eval",
    "before_eval_exp",
    "after_eval_exp",
    "after_eval",
)
"""The Avalanche callbacks that a run makes: an experience is a stage, an iteration an update.

`before_backward` is called in each optimizer step, with the strategy's `loss` at 0: the loss that
the plugin adds to it is added to contrail's loss.
"""


class AvalancheStrategy(Strategy):
    """A plugin of Avalanche as a strategy: the loop, an Avalanche template, calls its callbacks."""

    plugin_class: ClassVar[type]

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        settings = {
            field.name: getattr(self.config, field.name)
            for field in dataclasses.fields(self.config)
        }
        self.plugin = self.plugin_class(**settings)
        self.template: Any = None
        self._at_first = {name: _copied(value) for name, value in vars(self.plugin).items()}

    def penalty(
        self, learner: Learner, episodes: Sequence[Episode], rng: numpy.random.Generator
    ) -> Iterator[torch.Tensor]:
        if not _overrides(self.plugin_class, "before_backward"):
            return
        import torch

        self.template.loss = torch.zeros((), device=learner.policy.model.device)
        self.plugin.before_backward(self.template)
        if self.template.loss.requires_grad:
            yield self.template.loss

    def state_dict(self) -> dict[str, Any]:
        """Return the plugin's own `state_dict()`, or its attributes that are not as they were at
        first."""
        if hasattr(self.plugin, "state_dict"):
            state: dict[str, Any] = self.plugin.state_dict()
            return state
        return {
            name: value
            for name, value in vars(self.plugin).items()
            if name not in self._at_first or not _equal(value, self._at_first[name])
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if hasattr(self.plugin, "load_state_dict"):
            if state or not hasattr(self.plugin, "state_dict"):
                self.plugin.load_state_dict(state)
            return
        # The state lacks what was as at first when it was saved; since then it may have changed.
        first = {name: _copied(value) for name, value in self._at_first.items()}
        vars(self.plugin).clear()
        vars(self.plugin).update(first | state)


def strategy_class(path: str, directory: Path) -> type[Strategy]:
    """Return the strategy that `module:Class` or `file.py:Class` names.

    Args:
        path: the name; the class is a strategy, or a `BasePlugin` of Avalanche.
        directory: that files are relative to.

    Raises:
        ConfigError: there is no such module or class, or it is neither.
        PluginError: the module raised when it was imported.
    """
    module_name, _, class_name = path.rpartition(":")

    def blame(error: BaseException) -> Exception:
        return PluginError(f"{module_name!r} cannot be imported: {describe_error(error)}")

    if module_name.endswith(".py"):
        file = (directory / module_name).resolve()
        if not file.is_file():
            raise ConfigError(f"plugin file {file} does not exist.")
        load = functools.partial(load_file, file)
    else:
        load = functools.partial(importlib.import_module, module_name)
    with boundary(blame):
        module = load()
    cls = getattr(module, class_name, None)
    if isinstance(cls, type) and issubclass(cls, Strategy):
        return cls
    core = sys.modules.get("avalanche.core")
    if isinstance(cls, type) and core is not None and issubclass(cls, core.BasePlugin):
        return _wrapped(path, cls)
    raise ConfigError(
        f"{module_name!r} has no class {class_name!r} that is a contrail.Strategy or a BasePlugin "
        "of Avalanche."
    )


def _copied(value: Any) -> Any:
    """Return a copy, to see later whether the value was changed in place; or the value itself."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 (locks, files and modules cannot be copied, nor stored)
        return value


def _equal(value: Any, first: Any) -> bool:
    try:
        return value is first or bool(value == first)
    except (RuntimeError, ValueError):  # of arrays: they are stored
        return False


def _wrapped(path: str, cls: type) -> type[Strategy]:
    base = sys.modules["avalanche.core"].BasePlugin
    callbacks = [name for name in dir(cls) if name.startswith(("before_", "after_"))]
    never = [name for name in callbacks if _overrides(cls, name) and name not in TRIGGERED]
    if never:
        raise ConfigError(
            f"{path!r} defines {never[0]}, which a run never calls: it has no minibatches of "
            f"labelled data. It calls {', '.join(TRIGGERED)}."
        )
    assert issubclass(cls, base)
    config = dataclasses.make_dataclass(f"{cls.__name__}Config", _fields(cls))
    # `__module__` is that of the class, so that an edit of its file is noticed.
    members = {
        "Config": config,
        "plugin_class": cls,
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
    }
    return type(cls.__name__, (AvalancheStrategy,), members)


def _overrides(cls: type, name: str) -> bool:
    base = sys.modules["avalanche.core"].BasePlugin
    return getattr(cls, name, None) is not getattr(base, name, None)


def _fields(cls: type) -> list[Any]:
    """Return the arguments of a plugin as fields of a dataclass."""
    fields: list[Any] = []
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        if default is parameter.empty:
            fields.append((parameter.name, Any))
        elif isinstance(default, (list, dict, set)):
            fields.append((parameter.name, Any, dataclasses.field(default_factory=default.copy)))
        else:
            kind = type(default) if type(default) in (bool, int, float, str) else Any
            kind = float if kind is int and "float" in str(parameter.annotation) else kind
            fields.append((parameter.name, kind, default))
    return fields
