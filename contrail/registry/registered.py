"""Tables of what plugins have registered, and what may be put into them."""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from contrail.errors import ConfigError, PluginError, nearest
from contrail.metrics.episode import EpisodeMetric
from contrail.metrics.failures import FailureRule
from contrail.registry.members import check_members
from contrail.strategy import Strategy

T = TypeVar("T")
R = TypeVar("R", EpisodeMetric, FailureRule)


class NameTaken(PluginError):
    """A name that a plugin registers, or the plugin's own, is already that of `plugin`."""

    def __init__(self, message: str, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


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
            NameTaken: the first plugin keeps it.
        """
        taken = self.entries.get(name)
        if taken is not None:
            raise NameTaken(
                f"plugin {plugin!r} registers the {self.kind} {name!r}, but plugin "
                f"{taken.plugin!r} already has. Choose another name.",
                taken.plugin,
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
            is taken or no name.
    """
    check_name(plugin, table.kind, name)
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
    if base is Strategy and not hasattr(value.starts_at, "__get__"):  # as properties have it
        check_start(f"strategy {name!r} (plugin {plugin!r})", value.starts_at)
    table.register(name, value, plugin)


def check_start(who: str, value: object) -> None:
    """Refuse a `starts_at` that is no stage.

    Args:
        who: the strategy, with its plugin.
        value: of `starts_at`.

    Raises:
        PluginError: it is neither a whole number from 1, nor None, nor `Strategy.NEVER`.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    start = float(value) if number else math.nan  # type: ignore[arg-type]  # it is a number
    if value is None or start == Strategy.NEVER or (start >= 1 and start.is_integer()):
        return
    raise PluginError(
        f"{who}: starts_at is {value!r}. It is the number of the first stage in which the strategy "
        "differs from `sequential`, a whole number from 1; or None, or Strategy.NEVER."
    )


def check_name(plugin: str, kind: str, name: object) -> None:
    """Refuse a name that nobody could write in a stream file or on the command line.

    Raises:
        PluginError: it is no text, empty, or has spaces or the signs of a path or a class.
    """
    signs = r"[^\s:]+" if kind == "model" else r"[^\s:/]+"  # a model may be called as on a hub
    if not isinstance(name, str) or not re.fullmatch(signs, name):
        raise PluginError(
            f"plugin {plugin!r} registers the {kind} {name!r}: that cannot be a name. Choose one "
            "without spaces, `:` and `/`, such as 'my-own'."
        )


def not_registered(name: object, known: Iterable[str], directory: Path | None = None) -> str:
    """Return the end of an error message on a name that no plugin has registered.

    It names the plugin file that registers the name, if there is one in the directory: files are
    not loaded unless they are named.

    Args:
        name: the name that the user wrote.
        known: the registered names.
        directory: of the stream file; by default the working directory.
    """
    file, loads = _file_of(str(name), directory or Path.cwd())
    if file and not loads:
        return (
            f"{file} registers it in a function that is no hook: decorate the function with "
            f"@contrail.hookimpl. Then give the file in place of the name, or in a stream besides "
            f"it (`plugins: [{file}]`)."
        )
    if file:
        return (
            f"{file} has it: give the file in place of the name, or in a stream besides it "
            f"(`plugins: [{file}]`); or install its package with pip."
        )
    return (
        f"{nearest(name, known)} If a plugin file of yours registers it, name the file (in a "
        "stream: `plugins: [FILE.py]`)."
    )


def _file_of(name: str, directory: Path) -> tuple[str, bool]:
    """Return the plugin file in a directory that registers a name, or is called so, and whether it
    has hooks; "" if there is none."""
    plain = name.replace("-", "_")
    called = (f"{plain}.py", f"contrail_{plain}.py")
    without = ""
    try:
        for file in sorted(directory.glob("*.py"), key=lambda file: file.name not in called):
            text = file.read_text(errors="replace")
            hooks = "hookimpl" in text
            names = re.findall(r"""\bregister\(\s*["']([^"']+)["']""", text)
            if hooks and (name in names or (file.name in called and not names)):
                return file.name, True
            if name in names and re.search(r"^def contrail_\w+\(", text, re.MULTILINE):
                without = without or file.name
    except OSError:
        return "", False  # the hint is left out where files cannot be read
    return without, False
