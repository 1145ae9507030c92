"""Tables of what plugins have registered, and what may be put into them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from contrail.errors import ConfigError, PluginError, nearest
from contrail.metrics.episode import EpisodeMetric
from contrail.metrics.failures import FailureRule
from contrail.registry.members import check_members

T = TypeVar("T")
R = TypeVar("R", EpisodeMetric, FailureRule)


@dataclass(frozen=True)
class Registered(Generic[T]):
    """What a plugin registered, and the plugin's name."""

    value: T
    plugin: str


@dataclass
class Table(Generic[T]):
    """One kind of registered thing, by name."""

    kind: str
    entries: dict[str, Registered[T]] = field(default_factory=dict)

    def register(self, name: str, value: T, plugin: str) -> None:
        """Add an entry.

        Raises:
            PluginError: the name is taken; the first plugin keeps it.
        """
        taken = self.entries.get(name)
        if taken is not None:
            raise PluginError(
                f"plugin {plugin!r} registers the {self.kind} {name!r}, but plugin "
                f"{taken.plugin!r} already has. Choose another name."
            )
        self.entries[name] = Registered(value, plugin)

    def __getitem__(self, name: str) -> Registered[T]:
        try:
            return self.entries[name]
        except KeyError:
            message = f"no {self.kind} is called {name!r}. {not_registered(name, self.entries)}"
            raise ConfigError(message) from None

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)


def keep(table: Table[R], cls: type[R], plugin: str, value: R) -> None:
    """Add a metric or a failure rule, with its plugin's name.

    Raises:
        PluginError: it is none, it makes no sense, or its name is taken.
    """
    if not isinstance(value, cls):
        article = "an" if table.kind[0] in "aeiou" else "a"
        raise PluginError(
            f"plugin {plugin!r} registers {value!r} as {article} {table.kind}: register a "
            f"contrail.{cls.__name__}."
        )
    value = replace(value, plugin=plugin)
    value.check()
    table.register(value.name, value, plugin)


def register_class(
    table: Table[Any], base: type | None, plugin: str, name: str, value: Any
) -> None:
    """Add a class, which must be a subclass of `base`, or anything if there is no base.

    Raises:
        PluginError: it is none, it is abstract, a member of it could not do its work, or its name
            is taken.
    """
    if base is not None and not (isinstance(value, type) and issubclass(value, base)):
        raise PluginError(
            f"plugin {plugin!r} registers {value!r} as the {table.kind} {name!r}: register a "
            f"subclass of contrail.{base.__name__} (the class itself, not an instance)."
        )
    if base is not None and inspect.isabstract(value):
        missing = ", ".join(sorted(value.__abstractmethods__))
        raise PluginError(
            f"plugin {plugin!r} registers the {table.kind} {name!r}, whose class "
            f"{value.__name__} does not define {missing}."
        )
    if base is not None:
        try:
            check_members(value)
        except PluginError as error:
            raise PluginError(f"plugin {plugin!r}: {table.kind} {name!r}: {error}") from error
    table.register(name, value, plugin)


def not_registered(name: object, known: Iterable[str], directory: Path | None = None) -> str:
    """Return the end of an error message on a name that no plugin has registered.

    It names the plugin file that registers the name, if there is one in the directory: files are
    not loaded unless they are named.

    Args:
        name: the name that the user wrote.
        known: the registered names.
        directory: of the stream file; by default the working directory.
    """
    if file := _file_of(str(name), directory or Path.cwd()):
        return (
            f"{file} has it: give the file in place of the name, or in a stream besides it "
            f"(`plugins: [{file}]`); or install its package with pip."
        )
    return (
        f"{nearest(name, known)} If a plugin file of yours registers it, name the file (in a "
        "stream: `plugins: [FILE.py]`)."
    )


def _file_of(name: str, directory: Path) -> str | None:
    """Return the plugin file in a directory that registers a name, or is called so."""
    plain = name.replace("-", "_")
    called = (f"{plain}.py", f"contrail_{plain}.py")
    try:
        for file in sorted(directory.glob("*.py"), key=lambda file: file.name not in called):
            text = file.read_text(errors="replace")
            names = re.findall(r"""\bregister\(\s*["']([^"']+)["']""", text)
            if name in names or (file.name in called and not names and "hookimpl" in text):
                return file.name
    except OSError:
        return None  # the hint is left out where files cannot be read
    return None
