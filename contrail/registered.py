"""Tables of what plugins have registered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
            message = f"no {self.kind} is called {name!r}. {nearest(name, self.entries)}"
            raise ConfigError(message) from None

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)
