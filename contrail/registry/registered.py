"""Tables of what plugins have registered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from contrail.errors import ConfigError, PluginError, nearest

T = TypeVar("T")


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
