"""`contrail environments --search`: all that can be played, by words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from contrail.config.document import summary
from contrail.errors import ContrailError, PluginError
from contrail.names import visible
from contrail.registry.plugins import blaming
from contrail.values import as_text
from contrail.workers.factory import EnvironmentFactory

ALIGNED = 60  # characters; descriptions begin there, unless the settings are longer


@dataclass(frozen=True)
class Hit:
    """An environment, or one of the games that it can play."""

    environment: str
    """The name of the environment."""
    settings: dict[str, Any]
    """The settings of the game; empty for the environment as a whole."""
    description: str
    """One line about it."""

    @property
    def entry(self) -> str:
        """The stage's line in stream.yaml."""
        values = {"name": self.environment, **self.settings}
        text: str = yaml.safe_dump(
            values if self.settings else self.environment,
            default_flow_style=True,
            sort_keys=False,
            allow_unicode=True,
            width=float("inf"),
        )
        return f"- environment: {text.splitlines()[0]}"  # YAML ends a bare text with a line "..."


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    hits: list[Hit]
    """What has all the words, in the order of the environments."""
    missing: dict[str, str]
    """The environments whose games could not be listed, and what to do about it."""


def find(words: str, makers: Sequence[EnvironmentFactory]) -> Found:
    """Search environments and the games that they can play.

    Args:
        words: separated by blanks. A hit has all of them in its name, settings or description,
            whatever their capitals.
        makers: the environments to search.
    """
    wanted = words.casefold().split()
    hits, missing = [], {}
    for make in makers:
        listed = [Hit(make.name, {}, summary(make.registered.value))]
        try:
            listed += _games(make)
        except ContrailError as error:
            missing[make.name] = str(error)
        for hit in listed:
            text = f"{hit.entry} {hit.description}".casefold()
            if all(word in text for word in wanted):
                hits.append(hit)
    return Found(hits, missing)


def show_hits(words: str, found: Found) -> None:
    """Print the hits as lines of a stream file, and the environments that were not searched."""
    console = Console(highlight=False, soft_wrap=True)
    for hit in found.hits:
        about = visible(hit.description)
        console.print(Text(f"{visible(hit.entry):<{ALIGNED}}  # {about}" if about else hit.entry))
    if not found.hits:
        console.print(Text(f"Nothing has the words {visible(words)!r}."))
    for name, why in found.missing.items():
        console.print(Text(f"\nGames of {visible(name)} are not listed: {visible(why)}"))


def _games(make: EnvironmentFactory) -> list[Hit]:
    """Return the catalogue of an environment.

    Raises:
        ContrailError: a package is not installed, or the plugin's code is wrong.
    """
    try:
        with blaming("environment", make.name, make.registered, "catalogue"):
            return [
                Hit(make.name, _settings(settings), " ".join(as_text(about, "catalogue").split()))
                for settings, about in make.registered.value.catalogue()
            ]
    except PluginError as error:
        missing = error.__cause__
        if not isinstance(missing, ImportError):
            raise
        raise make.not_installed(missing) from missing


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that can be written into a stream file.

    Raises:
        yaml.YAMLError: a value is none of YAML's.
    """
    loaded: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(settings), sort_keys=False))
    return loaded
