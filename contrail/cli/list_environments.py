"""The environments with their tasks and needs: `contrail environments`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from contrail.config import Source, build, read_shift, show
from contrail.config.convert import UnknownKey
from contrail.environment import OVERRIDES, SPLITS, Environment
from contrail.errors import ConfigError, ContrailError, PluginError
from contrail.registry.plugins import Plugins, blaming
from contrail.values import as_texts
from contrail.workers.factory import EnvironmentFactory, no_tasks


@dataclass(frozen=True)
class Entry:
    """One environment with its default settings."""

    environment: str
    """Its name."""
    tasks: dict[str, int] = field(default_factory=dict)
    """The number of tasks, by split. Empty if the environment cannot be made."""
    difficulties: tuple[str | int, ...] = ()
    """The difficulties of its training tasks."""
    actions: bool | None = None
    """Whether it lists admissible actions."""
    expert: bool | None = None
    """Whether it has an expert."""
    extra: str | None = None
    """The extra to install, `pip install 'contrail[EXTRA]'`; None if none is needed."""
    about_data: str = ""
    """The source of its tasks, and of further ones."""
    notes: tuple[str, ...] = ()
    """What it says about its tasks, such as what of the data is left out."""
    missing: str = ""
    """What to do before it can be used; "" if nothing."""


@dataclass(frozen=True)
class Selection:
    """The environments that a command line names, with their settings."""

    makers: Sequence[EnvironmentFactory]
    """The factory of each environment."""
    named: bool
    """Whether the command line names environments; otherwise these are all."""


def select(words: Sequence[str], plugins: Plugins) -> Selection:
    """Return the environments of a command line.

    Args:
        words: names of environments and plugin files, and `key=value` for settings of all of them;
            without a name, all registered environments.
        plugins: the plugins loaded so far; the files are added.

    Raises:
        ContrailError: a name, plugin or setting is wrong.
    """
    named = [word for word in words if "=" not in word]
    source = Source.of_overrides([word for word in words if "=" in word])
    names = [one for name in named for one in plugins.environments_of(name)]
    with source.located():
        if not named and source.values:
            key = next(iter(source.values))
            raise ConfigError("name the environment whose setting it is, before it", key=(key,))
        makers = []
        for name in dict.fromkeys(names or plugins.environments):
            registered = plugins.environments[name]
            own = {}
            for member, (wanted, allowed) in OVERRIDES.items():
                value = source.values.get(member)
                if value is not None and not allowed(value):
                    raise ConfigError(f"{show(value)} is not {wanted}.", key=(member,))
                own[member] = getattr(registered.value, member) if value is None else value
            if "max_turns" not in source.values:
                own["max_turns"] = None  # an instance may have its own
            config = registered.value.Config
            if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
                raise PluginError(
                    f"plugin {registered.plugin!r}: the environment {name!r} has a Config that is "
                    "not a dataclass. Decorate it."
                )
            reserved = ("shift", *OVERRIDES)
            values = {key: value for key, value in source.values.items() if key not in reserved}
            settings = _settings(config, values, reserved) if named else None
            shift = read_shift(source.values.get("shift"), ("shift",), name, registered.value)
            makers.append(EnvironmentFactory(name, registered, settings, **own, shift=shift))
        return Selection(makers, bool(named))


def _settings(config: type, values: dict[str, Any], others: Sequence[str]) -> Any:
    """Return an environment's settings.

    Raises:
        ConfigError: one is unknown, or impossible; `others` are known, too.
    """
    try:
        return build(config, values)
    except UnknownKey as error:
        raise UnknownKey(error.key or (), error.value, [*error.known, *others]) from error


def catalogue(plugins: Plugins, makers: Sequence[EnvironmentFactory] | None = None) -> list[Entry]:
    """Environments, each made once: by default all registered ones, with default settings."""
    if makers is None:
        makers = select((), plugins).makers
    return [_entry(make) for make in makers]


def _entry(make: EnvironmentFactory) -> Entry:
    name, registered = make.name, make.registered
    extras = importlib.metadata.metadata("contrail").get_all("Provides-Extra") or []
    known: dict[str, Any] = {
        "extra": name if name in extras else None,
        "expert": registered.value.expert is not Environment.expert,
    }
    try:
        environment = make.here()
    except ContrailError as error:
        return Entry(name, missing=str(error), **known)
    try:
        with blaming("environment", name, registered, "first task"):
            listed = {split: list(environment.tasks(split)) for split in SPLITS}
            notes = tuple(as_texts(environment.notes, "notes"))
            if empty := next((split for split in SPLITS if not listed[split]), None):
                raise no_tasks(name, empty, make.own_settings)
            actions = environment.reset(listed["train"][0]).actions is not None
    except ContrailError as error:
        return Entry(name, missing=str(error), **known)
    finally:
        environment.close()
    found = {task.difficulty for task in listed["train"]} - {None}
    return Entry(
        name,
        tasks={split: len(tasks) for split, tasks in listed.items()},
        difficulties=tuple(sorted((value for value in found if value is not None), key=str)),
        actions=actions,
        about_data=environment.about_data,
        notes=notes,
        **known,
    )
