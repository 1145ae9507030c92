"""Reads stream.yaml, checks it against what the plugins offer, and makes a `RunConfig` of it.

Every error names the line or the override at fault, and the nearest valid choice.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contrail.config.convert import UnknownKey, build, check_keys
from contrail.config.environment_keys import read_pass_rates, read_shift
from contrail.config.hints import add_hint
from contrail.config.model import find_model
from contrail.config.plugins import load_plugin, load_tracker
from contrail.config.schema import (
    AnswersConfig,
    CheckpointConfig,
    Component,
    Composite,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    StageConfig,
    TaskFilter,
    WarmupConfig,
    names,
    plain,
)
from contrail.config.source import Source, show
from contrail.config.training import GRPOSettings, LoRASettings, refuse_with_advice
from contrail.environment import OVERRIDES
from contrail.errors import ConfigError, Key, PluginError, dotted, nearest
from contrail.registry.members import check_members
from contrail.registry.observers import TRACKERS
from contrail.registry.plugins import Plugins, load_plugins
from contrail.registry.registered import Table, not_registered

DEFAULT_STRATEGY = "sequential"
DEFAULT_ADAPTER = "choose"


SECTIONS: dict[str, tuple[type, str]] = {
    "grpo": (GRPOSettings, "trl.GRPOConfig"),
    "lora": (LoRASettings, "peft.LoraConfig"),
}
"""The keys whose values are passed on, and to what."""


def load(
    origin: Path | Mapping[str, Any] | Source,
    overrides: Sequence[str] = (),
    plugins: Plugins | None = None,
    without: Sequence[str] = (),
) -> tuple[RunConfig, Plugins]:
    """Read a stream file, with the plugins it names.

    Args:
        origin: the YAML file, relative to whose directory the paths in it are; or its content.
        overrides: `key=value` each; the value replaces the key's.
        plugins: to load the file's plugins into; by default the installed ones.
        without: keys of the file that are somebody else's.

    Raises:
        ConfigError: the file or an override asks for something impossible.
        PluginError: an installed plugin, or the settings class of one, is broken.
    """
    source = origin if isinstance(origin, Source) else Source(origin)
    for name in without:
        source.values.pop(name, None)
    for name, default in (("strategy", DEFAULT_STRATEGY), ("adapter", DEFAULT_ADAPTER)):
        source.values.setdefault(name, default)
    source.override(overrides)
    _fill_in(source.values)
    with source.located():
        source.resolve()
        parser = _Parser(source, load_plugins() if plugins is None else plugins)
        try:
            return parser.run(), parser.plugins
        except UnknownKey as error:
            add_hint(error, source.values, parser.plugins)
            raise


class _Parser:
    """Turns the source's values into a RunConfig, one key after the other."""

    def __init__(self, source: Source, plugins: Plugins) -> None:
        self.values = source.values
        self.directory = source.directory
        self.plugins = plugins
        self._seen: dict[str, tuple[Key, EnvironmentConfig]] = {}

    def run(self) -> RunConfig:
        values = self.values
        check_keys((), values, names(RunConfig))
        sections = {name: self.section(name, values[name]) for name in SECTIONS}
        # First the plain keys: plugins must be texts before they can be loaded.
        later: dict[str, Any] = dict.fromkeys(
            ("stream", "strategy", "adapter", "evaluate", "answers", "checkpoint", "warmup")
        )
        first = build(RunConfig, values, (), self.directory, **sections, **later)
        named = tuple(self.plugin(index, name) for index, name in enumerate(first.plugins))
        adapter = self.component(("adapter",), values["adapter"], self.plugins.adapters)
        return dataclasses.replace(
            first,
            plugins=named,
            trackers=tuple(self.tracker(*item) for item in enumerate(first.trackers)),
            model=find_model(first.model, self.directory, self.plugins.models),
            strategy=self.strategy(values["strategy"]),
            adapter=adapter,
            stream=self.stream(values.get("stream"), adapter),
            evaluate=self.evaluate(values["evaluate"]),
            warmup=self.warmup(values.get("warmup")),
            answers=build(AnswersConfig, values["answers"], ("answers",), self.directory),
            checkpoint=build(
                CheckpointConfig, values.get("checkpoint", {}), ("checkpoint",), self.directory
            ),
        )

    def section(self, name: str, values: Any) -> Any:
        """Return a key whose values are passed on to trl or peft."""
        cls, target = SECTIONS[name]
        if isinstance(values, dict):
            refuse_with_advice(name, values)
            hint = f"{name} takes the fields of {target} that act in contrail; see docs/stream.md."
            check_keys((name,), values, names(cls), hint)
        return build(cls, values, (name,), self.directory)

    def plugin(self, index: int, name: str) -> str:
        """Load a plugin; its name, or the absolute path of its file."""
        try:
            return load_plugin(self.plugins, name, self.directory)
        except (PluginError, ValueError, OSError) as error:
            raise ConfigError(str(error), key=("plugins", index)) from error

    def tracker(self, index: int, name: str) -> str:
        """Load a tracker; its name, or the absolute path of its file."""
        try:
            return load_tracker(self.plugins, name, self.directory)
        except (PluginError, ValueError, OSError) as error:
            shipped = nearest(name, TRACKERS)
            said = str(error).rstrip(".")
            raise ConfigError(f"{said}. {shipped}", key=("trackers", index)) from error

    def strategy(self, value: Any) -> Component:
        """One strategy, or several in a list."""
        key: Key = ("strategy",)
        if not isinstance(value, list):
            return self.component(key, value, self.plugins.strategies)
        if not value:
            raise ConfigError(
                "the list is empty. Write for example `strategy: [replay, kl]`.", key=key
            )
        made = tuple(
            self.component((*key, index), item, self.plugins.strategies)
            for index, item in enumerate(value)
        )
        for index, component in enumerate(made):
            if component.name in [other.name for other in made[:index]]:
                raise ConfigError(
                    f"{component.name!r} is there twice. Remove one.", key=(*key, index)
                )
        if len(made) == 1:
            return made[0]
        return Composite("+".join(component.name for component in made), made)

    def stream(self, values: Any, adapter: Component) -> tuple[StageConfig, ...]:
        example = "Write for example `stream: [babyai, textcraft]`."
        if "stream" not in self.values:
            raise ConfigError(f"`stream` is missing. {example}", key=())
        if not isinstance(values, list):
            raise ConfigError(f"{show(values)} is not a list of stages. {example}", key=("stream",))
        if not values:
            raise ConfigError(f"there must be at least one stage. {example}", key=("stream",))
        return tuple(
            self.stage(("stream", index), value, adapter) for index, value in enumerate(values)
        )

    def stage(self, key: Key, values: Any, adapter: Component) -> StageConfig:
        if isinstance(values, str):
            values = {"environment": values}
            environment = self.environment(key, values["environment"])
        elif not isinstance(values, dict):
            raise ConfigError(
                f"{show(values)} is neither an environment's name nor a mapping.", key=key
            )
        else:
            check_keys(key, values, names(StageConfig), self.misplaced(values))
            if "environment" not in values:
                known = nearest("", self.plugins.environments)
                raise ConfigError(f"`environment` is missing. {known}", key=key)
            environment = self.environment((*key, "environment"), values["environment"])
        if values.get("adapter") is not None:
            adapter_key = (*key, "adapter")
            adapter = self.component(adapter_key, values["adapter"], self.plugins.adapters)
        learn = self.component(
            (*key, "learn"), values.get("learn") or "grpo", self.plugins.objectives
        )
        train = self.task_filter((*key, "train"), values.get("train", {}))
        if values.get("name") is None:
            values = {**values, "name": environment.label}
        return build(
            StageConfig,
            values,
            key,
            self.directory,
            environment=environment,
            adapter=adapter,
            learn=learn,
            train=train,
        )

    def warmup(self, values: Any) -> WarmupConfig | None:
        """The warm-up, as a number of updates or a mapping."""
        if values is None:
            return None
        key: Key = ("warmup",)
        if not isinstance(values, dict):
            values = {"updates": values}
        check_keys(key, values, names(WarmupConfig))
        learn = self.component(
            (*key, "learn"), values.get("learn") or "imitate", self.plugins.objectives
        )
        return build(WarmupConfig, values, key, self.directory, learn=learn)

    def misplaced(self, values: dict[str, Any]) -> str:
        """Return a hint where a stage has keys that belong to its environment."""
        name = values.get("environment")
        if not isinstance(name, str) or name not in self.plugins.environments:
            return ""
        settings = self.plugins.environments[name].value.Config
        if not dataclasses.is_dataclass(settings):
            return ""
        own = [key for key in names(settings) if key in values and key != "name"]
        if not own:
            return ""
        return f"The environment's own: write `environment: {{name: {name}, {own[0]}: …}}`."

    def task_filter(self, key: Key, values: Any) -> TaskFilter:
        difficulty = values.get("difficulty") if isinstance(values, dict) else None
        many = difficulty if isinstance(difficulty, list) else [difficulty]
        if difficulty == []:
            raise ConfigError(
                "the list is empty. Remove the key for all tasks.", key=(*key, "difficulty")
            )
        for value in many:
            if difficulty is not None and (
                isinstance(value, bool) or not isinstance(value, (str, int))
            ):
                raise ConfigError(
                    f"{show(value)} is neither text nor a whole number.", key=(*key, "difficulty")
                )
        chosen = None if difficulty is None else tuple(many)
        return build(TaskFilter, values, key, self.directory, difficulty=chosen)

    def evaluate(self, values: Any) -> EvaluateConfig:
        key: Key = ("evaluate",)
        named = values.get("environments", []) if isinstance(values, dict) else []
        if not isinstance(named, list):
            message = f"{show(named)} is not a list. Write `environments: [textcraft]`."
            raise ConfigError(message, key=(*key, "environments"))
        environments = tuple(
            self.environment((*key, "environments", index), value)
            for index, value in enumerate(named)
        )
        return build(EvaluateConfig, values, key, self.directory, environments=environments)

    def environment(self, key: Key, value: Any) -> EnvironmentConfig:
        """Return an environment; the same label always means the same settings."""
        label = value.get("label") if isinstance(value, dict) else None
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise ConfigError(f"{show(label)} is not a name.", key=(*key, "label"))
        own = {name: value.get(name) for name in OVERRIDES} if isinstance(value, dict) else {}
        for name, (wanted, allowed) in OVERRIDES.items():
            if own.get(name) is not None and not allowed(own[name]):
                raise ConfigError(f"{show(own[name])} is not {wanted}.", key=(*key, name))
        reserved = ("label", "shift", "pass_rates", *OVERRIDES)
        found = self.component(key, value, self.plugins.environments, reserved)
        shift = read_shift(
            value.get("shift") if isinstance(value, dict) else None,
            (*key, "shift"),
            found.name,
            self.plugins.environments[found.name].value,
        )
        environment = EnvironmentConfig(
            found.name, found.settings, label or found.name, **own, shift=shift
        )
        if isinstance(value, dict) and value.get("pass_rates") is not None:
            at = (*key, "pass_rates")
            rates = read_pass_rates(value["pass_rates"], at, environment, self.directory)
            environment = dataclasses.replace(environment, pass_rates=rates)
        place, other = self._seen.setdefault(environment.label, (key, environment))
        if plain(other) != plain(environment):
            raise ConfigError(
                f"{environment.label!r} already stands for the environment at {dotted(place)}, "
                "which has another name or other settings. Give one of the two a `label` of its "
                "own: it is the name of its column in the result matrix.",
                key=key,
                of_children=True,
            )
        return environment

    def component(
        self, key: Key, value: Any, table: Table[Any], reserved: tuple[str, ...] = ()
    ) -> Component:
        """Return a registered thing, written as its name or as a mapping with `name` and
        settings."""
        path = None
        if isinstance(value, str):
            name, name_key, settings = value, key, {}
        elif isinstance(value, dict):
            if "name" not in value:
                check_keys(key, {k: 0 for k in value if _like_name(k)}, ["name"])
                raise ConfigError(f"`name` is missing. {nearest('', table)}", key=key)
            name, name_key = value["name"], (*key, "name")
            settings = {k: v for k, v in value.items() if k not in ("name", *reserved)}
        else:
            what = f"{show(value)} is neither a name nor a mapping with a `name`."
            raise ConfigError(f"{what} {nearest('', table)}", key=key)
        if isinstance(name, str) and ":" in name and table is self.plugins.strategies:
            name, path = self.add_strategy(name, name_key)
        if not isinstance(name, str) or name not in table:
            known = not_registered(name, table, self.directory)
            if isinstance(name, str) and ":" in name:
                known = (
                    "FILE.py:CLASS and MODULE:CLASS name strategies only. Register the class in a "
                    f"plugin file, with the hook contrail_{table.kind}s, name the file under "
                    "`plugins`, and write the registered name here."
                )
            if isinstance(name, str) and (other := self.plugins.kind_of(name)) is not None:
                known = f"There is one of another kind, {other} {name!r}. {nearest('', table)}"
            raise ConfigError(f"no {table.kind} is called {show(name)}. {known}", key=name_key)
        registered = table[name]
        cls = registered.value.Config
        who = f"plugin {registered.plugin!r}: the {table.kind} {name!r}"
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise PluginError(f"{who} has a Config that is not a dataclass. Decorate it.")
        taken = {"name", *reserved} & set(names(cls))
        if taken:
            raise PluginError(
                f"{who} has the setting {min(taken)!r}, a key with a meaning of its own in "
                "stream.yaml. Call it otherwise."
            )
        try:
            return Component(name, build(cls, settings, key, self.directory), path=path)
        except PluginError as error:
            raise PluginError(f"{who}: {error}") from error

    def add_strategy(self, path: str, key: Key) -> tuple[str, str | None]:
        """Register the class that `module:Class` or `FILE.py:Class` names.

        Returns:
            Its name, which leaves out the directory of a file; and what names it from any
            directory, where that is something else.
        """
        from contrail.registry.avalanche import strategy_class

        table, (place, _, cls) = self.plugins.strategies, path.rpartition(":")
        if not place.endswith(".py"):
            name, whole = path, None
        else:
            file = (self.directory / os.path.expanduser(place)).resolve()
            place, whole = str(file), f"{file}:{cls}"
            name = f"{file.name}:{cls}"
            if name in table and table[name].plugin != place:
                if file.is_file():  # another of this name
                    name = whole
                else:  # written beside another configuration, by an earlier version
                    whole = f"{table[name].plugin}:{cls}"
        if name not in table:
            try:
                found = strategy_class(whole or path, self.directory)
                check_members(found)
            except (ConfigError, PluginError) as error:
                raise ConfigError(str(error), key=key) from error
            table.register(name, found, place)
        return name, whole


def _fill_in(values: dict[str, Any]) -> None:
    """Add the plain defaults, so that ${interpolations} can refer to them."""
    for name, cls in (
        (None, RunConfig),
        ("evaluate", EvaluateConfig),
        ("answers", AnswersConfig),
        *((name, cls) for name, (cls, _) in SECTIONS.items()),
    ):
        target = values if name is None else values.setdefault(name, {})
        for item in dataclasses.fields(cls):
            if isinstance(target, dict) and isinstance(item.default, (str, int, float)):
                target.setdefault(item.name, item.default)


def _like_name(key: object) -> bool:
    """Return whether a key is a misspelt `name`."""
    return "Did you mean" in nearest(key, ["name"])
