"""Finds plugins, loads them, and keeps what they register.

A plugin is a Python module with hook implementations. Installed packages, contrail among them, name
their plugins in the entry-point group `contrail`; stream.yaml names files and modules under
`plugins`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from contrail import hookspecs
from contrail.adapter import Adapter
from contrail.environment import Environment
from contrail.errors import (
    ContrailError,
    PluginError,
    boundary,
    describe_error,
    is_interrupt,
    message_of,
    nearest,
)
from contrail.metrics.episode import EpisodeMetric
from contrail.metrics.failures import Diagnosis, FailureContext, FailureRule
from contrail.plugin_files import (
    importing,
    innermost,
    installed_copy,
    load_file,
    no_plugin,
    no_such_hook,
    other_version,
    plugin_file,
    same_file,
)
from contrail.registry.registered import NameTaken, Registered, Table, keep, register_class
from contrail.shift.shifted import Shift
from contrail.strategy import Strategy
from contrail.training.objective import Objective
from contrail.values import shown

T = TypeVar("T")
GROUP = "contrail"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("contrail_"))


@dataclass(frozen=True)
class PluginInfo:
    """A loaded plugin as `contrail plugins` lists it."""

    name: str
    version: str
    source: str
    hooks: tuple[str, ...]


class Plugins:
    """The loaded plugins, their hooks, and everything they registered."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._manager.add_hookcall_monitoring(lambda *call: None, _blame)
        self._origin: dict[str, tuple[str, str]] = {}
        self.environments: Table[type[Environment]] = Table("environment")
        self.adapters: Table[type[Adapter]] = Table("adapter")
        self.strategies: Table[type[Strategy]] = Table("strategy")
        self.objectives: Table[type[Objective]] = Table("objective")
        self.models: Table[Callable[[], Path]] = Table("model")
        self.metrics: Table[EpisodeMetric] = Table("episode metric")
        self.failures: Table[FailureRule] = Table("failure rule")
        self._tables: dict[str, tuple[Table[Any], type | None]] = {
            "contrail_environments": (self.environments, Environment),
            "contrail_adapters": (self.adapters, Adapter),
            "contrail_strategies": (self.strategies, Strategy),
            "contrail_objectives": (self.objectives, Objective),
            "contrail_models": (self.models, None),
        }

    @property
    def hook(self) -> pluggy.HookRelay:
        """Calls a hook of all plugins: `plugins.hook.contrail_run_start(run=run)`."""
        return self._manager.hook

    def each(self, hook: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield the plugins that implement a hook, in the order of calls, each with its own call.

        `contrail.registry.observers` calls the hooks of trackers and reports so.
        """
        modules = self._manager.get_plugins()
        # pluggy lists implementations in the reverse order of calls.
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            others = [module for module in modules if module is not implementation.plugin]
            yield implementation.plugin_name, self._manager.subset_hook_caller(hook, others)

    def add(self, module: ModuleType, name: str, version: str = "-", source: str = "") -> None:
        """Load one plugin and call its hooks that register things.

        Raises:
            PluginError: it implements no hook, an unknown hook, or a registration fails.
        """
        if name in self._origin:
            raise NameTaken(
                f"two plugins are called {name!r}: {self._origin[name][1]} and {source}. "
                "Rename one.",
                name,
            )
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            reason = " ".join(str(error).split())
            raise PluginError(no_such_hook(name, source, reason, HOOKS)) from error
        self._origin[name] = (version, source)
        hooks = self._manager.get_hookcallers(module) or []
        if not hooks:
            raise PluginError(
                f"plugin {name!r} ({source}) implements no hook. Decorate a function of it, for "
                "example contrail_environments(register), with @contrail.hookimpl."
            )
        registers: dict[str, Callable[..., None]] = {
            "contrail_metrics": functools.partial(self.register_metric, name),
            "contrail_failures": functools.partial(self.register_failure, name),
        }
        for hook, (table, base) in self._tables.items():
            registers[hook] = functools.partial(register_class, table, base, name)
        for caller in hooks:
            for item in caller.get_hookimpls():
                if item.plugin is module and caller.name in registers and not item.argnames:
                    raise PluginError(
                        f"plugin {name!r} ({source}): {caller.name}() registers nothing: it needs "
                        f"a parameter. Write `def {caller.name}(register)`."
                    )
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        for hook, register in registers.items():
            returned = self._manager.subset_hook_caller(hook, others)(register=register)
            if returned and not self.registered_by(name):
                raise PluginError(
                    f"plugin {name!r} ({source}): {hook} returns {shown(returned[0])} and "
                    "registers nothing. Call `register` in it, as in docs/plugins.md."
                )

    def register_metric(self, plugin: str, metric: EpisodeMetric) -> None:
        """Add a metric of an episode.

        Raises:
            PluginError: it is none, it makes no sense, or its name is taken.
        """
        keep(self.metrics, EpisodeMetric, plugin, metric)

    def register_failure(self, plugin: str, rule: FailureRule) -> None:
        """Add a failure rule; raises as `register_metric`."""
        keep(self.failures, FailureRule, plugin, rule)

    @property
    def failure_rules(self) -> list[FailureRule]:
        """The failure rules, in the order of their registration."""
        return [entry.value for entry in self.failures.entries.values()]

    def diagnosis(
        self, environments: Mapping[str, tuple[str, int | None, Shift | None]]
    ) -> Diagnosis:
        """Return what finds the failure modes of episodes.

        Args:
            environments: by label, the registered name, the limit of turns if it is configured, and
                the interface shift if there is one.
        """
        contexts = {
            label: FailureContext.of(self.environments[name].value, max_turns, shift)
            for label, (name, max_turns, shift) in environments.items()
        }
        return Diagnosis(self.failure_rules, contexts)

    @property
    def episode_metrics(self) -> list[EpisodeMetric]:
        """The metrics of an episode, in the order of their registration."""
        return [entry.value for entry in self.metrics.entries.values()]

    def add_installed(self) -> None:
        """Load the plugins of installed packages.

        `CONTRAIL_PLUGINS`, a comma-separated list of names, restricts those of other packages;
        an empty value loads none of them. contrail's own are always loaded.

        Raises:
            PluginError: one cannot be imported or registered, or the list names an unknown one.
        """
        points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
        wanted = os.environ.get("CONTRAIL_PLUGINS")
        names = None if wanted is None else {name.strip() for name in wanted.split(",")} - {""}
        unknown = (names or set()) - {point.name for point in points}
        if unknown:
            name = min(unknown)
            raise PluginError(
                f"CONTRAIL_PLUGINS names {name!r}, which is not installed. "
                f"{nearest(name, [point.name for point in points])}"
            )
        # contrail's own come first, so that a taken name is blamed on the other package.
        # Plugins of one package share its metadata, which takes long to parse.
        packages = {id(point.dist): point.dist for point in points}
        about = {key: _name_and_version(package) for key, package in packages.items()}
        for point in sorted(points, key=lambda point: about[id(point.dist)][0] != "contrail"):
            package, version = about[id(point.dist)]
            if names is not None and point.name not in names and package != "contrail":
                continue
            module = importing(point.name, point.value, point.load)
            self.add(module, point.name, version, point.value)

    def add_named(self, name: str, directory: Path) -> None:
        """Load a plugin named in stream.yaml: a file (relative to `directory`) or a module.

        Raises:
            PluginError: there is no such file or module, or it raised on import.
        """
        path = (directory / name).resolve()
        short = path.stem if name.endswith(".py") else name
        if name.endswith(".py") or os.sep in name:
            if not path.is_file():
                beside = [item.name for item in path.parent.glob("*.py")]
                hint = nearest(path.name, beside) if beside else "There is no .py file beside it."
                raise PluginError(f"plugin file {path} does not exist. {hint}")
            module = importing(short, str(path), functools.partial(load_file, path))
        else:
            module = importing(name, name, functools.partial(importlib.import_module, name))
        try:
            self.add(module, short, "-", str(path))
        except NameTaken as error:
            installed = self._manager.get_plugin(error.plugin)
            if installed_copy(installed, path):
                raise PluginError(other_version(error.plugin, installed, path)) from error
            raise

    def find(self, name: str) -> str | None:
        """Return the name of a loaded plugin, if there is one of this name, module or file.

        A package that is installed has the plugin's file as its module, or a copy of it.
        """
        for plugin, (_, source) in self._origin.items():
            if name in (plugin, source):
                return plugin
            if name.endswith(".py") and same_file(self._manager.get_plugin(plugin), Path(name)):
                return plugin
        return None

    def without(self, name: str) -> Plugins:
        """Return the same plugins but one."""
        others = Plugins()
        for plugin, (version, source) in self._origin.items():
            if plugin != name:
                module: Any = self._manager.get_plugin(plugin)
                others.add(module, plugin, version, source)
        return others

    def load(self, name: str, directory: Path) -> str:
        """Load a plugin as `add_named` does, unless it is loaded; return its name."""
        path = str((directory / name).resolve()) if name.endswith(".py") else name
        found = self.find(path)
        if found is None:
            self.add_named(name, directory)
            found = self.find(path)
            assert found is not None
        return found

    def environments_of(self, name: str) -> list[str]:
        """Return the environments that a command line names: one; or those of a plugin file, or
        of the one in a folder.

        Raises:
            ContrailError: there is no such environment or file, or the file registers none.
        """
        file = None if name in self.environments else plugin_file(name)
        if file is None:
            self.environments[name]
            return [name]
        plugin = self.load(file, Path.cwd())
        entries = self.environments.entries
        added = [item for item, entry in entries.items() if entry.plugin == plugin]
        if not added:
            raise PluginError(f"plugin {name!r} registers no environment")
        return added

    def add_class(self, cls: type) -> str:
        """Register a class under its own name; returns the name.

        Raises:
            PluginError: it is no environment, adapter, strategy or objective, or its name is taken.
        """
        for table, base in self._tables.values():
            if base is not None and isinstance(cls, type) and issubclass(cls, base):
                register_class(table, base, cls.__module__, cls.__name__, cls)
                return cls.__name__
        raise PluginError(no_plugin(cls))

    def name_of(self, cls: type) -> str | None:
        """Return the name under which a class is registered, if it is."""
        entries = (item for table, _ in self._tables.values() for item in table.entries.items())
        return next((name for name, entry in entries if entry.value is cls), None)

    def kind_of(self, name: str) -> str | None:
        """Return of which kind the thing is that is registered under a name, if there is one."""
        tables = (table for table, _ in self._tables.values())
        return next((table.kind for table in tables if name in table), None)

    def registered_by(self, plugin: str) -> list[str]:
        """Return the kinds and names that a plugin registered: "environment babyai", ...."""
        tables = [table for table, _ in self._tables.values()]
        return [
            f"{table.kind} {name}"
            for table in (*tables, self.metrics, self.failures)
            for name, entry in table.entries.items()
            if entry.plugin == plugin
        ]

    def info(self) -> list[PluginInfo]:
        """Return all loaded plugins, in the order of loading."""
        infos = []
        for name, (version, source) in self._origin.items():
            callers = self._manager.get_hookcallers(self._manager.get_plugin(name)) or []
            infos.append(PluginInfo(name, version, source, tuple(call.name for call in callers)))
        return infos


def load_plugins(named: Iterable[str] = (), directory: Path | None = None) -> Plugins:
    """Return the installed plugins and those named in a stream file of `directory`."""
    plugins = Plugins()
    plugins.add_installed()
    for name in named:
        plugins.add_named(name, directory or Path.cwd())
    return plugins


def blamed(
    kind: str, name: str, registered: Registered[Any], what: str, error: BaseException
) -> ContrailError:
    """Return the error with the name of the plugin that caused it; errors for humans stay as they
    are."""
    if isinstance(error, ContrailError):
        return error
    plugin = f"{kind} {name!r} (plugin {registered.plugin!r})"
    return PluginError(f"{plugin}: {what}: {describe_error(error)}")


def blaming(
    kind: str, name: str, registered: Registered[Any], what: str
) -> AbstractContextManager[None]:
    """Context manager: an exception of registered code is blamed on its plugin."""
    return boundary(functools.partial(blamed, kind, name, registered, what))


def _name_and_version(package: importlib.metadata.Distribution | None) -> tuple[str, str]:
    metadata = package.metadata if package else {"Name": "-", "Version": "-"}
    return metadata["Name"], metadata["Version"]


def _blame(
    outcome: pluggy.Result[Any],
    hook: str,
    implementations: Sequence[pluggy.HookImpl],
    arguments: Mapping[str, Any],
) -> None:
    """Add the plugin's name to the exception of its hook."""
    error = outcome.exception
    if error is None or is_interrupt(error) or isinstance(error, ContrailError):
        return
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return  # rich's end where nobody reads on, as in `contrail report RUN | head`
    names = {getattr(item.function, "__code__", None): item.plugin_name for item in implementations}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code in names:
            where = innermost(error, frame.f_code.co_filename)
            blamed = PluginError(
                f"plugin {names[frame.f_code]!r} raised in {hook}: {message_of(error)}{where}"
            )
            blamed.__cause__ = error
            outcome.force_exception(blamed)
            return
