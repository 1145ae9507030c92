"""What a call of contrail's functions is given: a stream, plugins and classes, keys to set."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from contrail.adapter import Adapter
from contrail.config import Source
from contrail.environment import Environment
from contrail.errors import ConfigError
from contrail.metrics.episode import EpisodeMetric
from contrail.registry.plugins import Plugins, load_plugins
from contrail.runs.directory import default_directory
from contrail.strategy import Strategy
from contrail.training.objective import Objective

Stream = str | os.PathLike[str] | Mapping[str, Any]
Plugin = str | os.PathLike[str] | ModuleType | type | EpisodeMetric


class Given:
    """The plugins and classes of a call.

    Args:
        plugins: as the call was given them.
        known: those that are loaded already, to which they are added; by default the installed.
    """

    def __init__(self, plugins: Plugins | Iterable[Plugin], known: Plugins | None = None) -> None:
        self._written: list[str] = []  # what a stream file could name
        self._local: list[str] = []  # what it could not
        if isinstance(plugins, Plugins):
            self.plugins = plugins
            return
        self.plugins = load_plugins() if known is None else known
        if not isinstance(plugins, (str, Path, Iterable)):
            raise ConfigError(f"plugins is {plugins!r}: give a list of plugins.")
        for item in [plugins] if isinstance(plugins, (str, Path)) else plugins:
            self._add(item)

    def _add(self, item: Plugin) -> None:
        if isinstance(item, (str, os.PathLike)):
            name = os.fspath(item)
            if name.endswith(".py") or os.sep in name:
                name = str(Path(name).expanduser().resolve())
            self.plugins.load(name, Path.cwd())
            self._written.append(name)
        elif isinstance(item, ModuleType):
            place = getattr(item, "__file__", None)
            if self.plugins.find(place or item.__name__) is None:
                self.plugins.add(item, item.__name__, "-", place or item.__name__)
            if item.__name__ == "__main__" or place is None:
                self._local.append(item.__name__)
            else:
                self._written.append(item.__name__)
        elif isinstance(item, EpisodeMetric):
            if item not in self.plugins.episode_metrics:
                self.plugins.register_metric(_module(item.value), item)
                self._local.append(item.name)
        else:
            self.named(item)  # refuses an instance, and a class of another kind
            if not isinstance(item, type):
                self.plugins.add_class(item)  # which says what can be a plugin

    def named(self, value: Any) -> Any:
        """Return the value with registered names in place of classes."""
        if isinstance(value, type):
            known = self.plugins.name_of(value)
            if known is None:
                known = self.plugins.add_class(value)
                self._local.append(known)
            return known
        if isinstance(value, (Environment, Adapter, Strategy, Objective)):
            name = type(value).__name__
            raise ConfigError(
                f"{name} is given as an instance: give the class, {name}, and its settings beside "
                f"it: {{'name': {name}, 'key': value}}."
            )
        if isinstance(value, Mapping):
            return {key: self.named(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.named(item) for item in value]
        if hasattr(value, "shape") and callable(getattr(value, "tolist", None)):
            return value.tolist()  # of numpy or torch: a scalar as well
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def source(self, stream: Stream) -> Source:
        """Return the stream, with the plugins of the call beside its own."""
        if isinstance(stream, Mapping):
            source = Source(self.named(stream))
        elif isinstance(stream, (str, os.PathLike)):
            source = Source(Path(stream))
        else:
            raise ConfigError(
                f"{stream!r} is no stream: give the path of a file, or its content as a mapping."
            )
        own = source.values.get("plugins", [])
        if isinstance(own, list) and self._written:
            source.values["plugins"] = [*own, *(n for n in self._written if n not in own)]
        return source

    def overrides(self, texts: Iterable[str], values: Mapping[str, Any]) -> list[str]:
        """All overrides as `key=value`, the way they would be written on the command line.

        Args:
            texts: those that are written so already.
            values: keyword arguments.

        Raises:
            ConfigError: one of `texts` is no text.
        """
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise ConfigError(
                    f"{text!r} is no override: give each as a text of its own, such as "
                    '"grpo.learning_rate=1e-4", or by name, such as seed=1.'
                )
        return texts + [f"{key}={_text(self.named(value))}" for key, value in values.items()]

    def refuse_local(self, what: str) -> None:
        """Refuse classes and metrics that another process could not load.

        Raises:
            ConfigError: a class or metric was given that no plugin file or module registers.
        """
        if self._local:
            raise ConfigError(
                f"contrail.{what} makes its runs in processes of their own, which cannot load "
                f"{self._local[0]!r}. Register it in a plugin file (docs/plugins.md), and give its "
                "path in `plugins`."
            )


def path_of(name: str, value: Any) -> Path:
    """Return the value of an argument that is a path.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{name} is {value!r}: give a path.")
    return Path(value)


def positive(name: str, value: Any) -> int:
    """Return the value of an argument that counts something.

    Raises:
        ConfigError: it is no whole number, or less than 1.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise ConfigError(f"{name} is {value!r}: give a whole number, 1 or more.")
    return number


def _text(value: Any) -> str:
    """Return a plain value as YAML on one line; simple words without quotes."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(value, str):
        try:
            # Overrides are read by OmegaConf, to which "1e5" is a number.
            read = OmegaConf.from_dotlist([f"key={value}"])["key"]
            simple = yaml.safe_load(f"[{value}]") == [value] and read == value
        except (yaml.YAMLError, OmegaConfBaseException):
            simple = False
        if simple:
            return value
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ConfigError(f"{value!r} cannot stand in a stream: {error}.") from error


def directory_of(source: Source, overrides: Sequence[str]) -> Path:
    """Return the default run directory: the same for the same call."""
    if source.path is not None:
        return default_directory(source.path, overrides)
    content = json.dumps(source.values, sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return default_directory(Path(f"stream-{digest}"), overrides)


def _module(function: Any) -> str:
    return str(getattr(function, "__module__", None) or "__main__")
