"""stream.yaml: read, checked against what the plugins offer, and made into a `RunConfig`.

Every error names the line or the override at fault, and the nearest valid choice.

    config_source    what was written, and where
    config_convert   values -> dataclasses
    config_schema    the dataclasses, and back to YAML
    config_training  the keys passed to trl and peft
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contrail.config.convert import build, check_keys
from contrail.config.schema import (
    CheckpointConfig,
    Component,
    Composite,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    StageConfig,
    TaskFilter,
    differences,
    names,
    plain,
    to_dict,
    to_yaml,
)
from contrail.config.source import Key, Source, dotted, show
from contrail.config.training import (
    GRPO_DEFAULTS,
    LORA_DEFAULTS,
    check_training,
    grpo_config,
    lora_config,
)
from contrail.environment import OVERRIDES
from contrail.errors import PluginError, nearest
from contrail.registry import Plugins, Table, load_plugins

__all__ = [
    "GRPO_DEFAULTS",
    "LORA_DEFAULTS",
    "Component",
    "Composite",
    "EnvironmentConfig",
    "EvaluateConfig",
    "RunConfig",
    "StageConfig",
    "TaskFilter",
    "differences",
    "grpo_config",
    "load",
    "lora_config",
    "to_dict",
    "to_yaml",
]

DEFAULT_STRATEGY = "sequential"
DEFAULT_ADAPTER = "choose"


def load(
    path: Path,
    overrides: Sequence[str] = (),
    plugins: Plugins | None = None,
    without: Sequence[str] = (),
) -> tuple[RunConfig, Plugins]:
    """Read a stream file, with the plugins it names.

    Args:
        path: the YAML file; paths in it are relative to its directory.
        overrides: `key=value` each; the value replaces the key's.
        plugins: to load the file's plugins into; by default the installed ones.
        without: keys of the file that are somebody else's.

    Raises:
        ConfigError: the file or an override asks for something impossible.
        PluginError: an installed plugin, or the settings class of one, is broken.
    """
    source = Source(path)
    for name in without:
        source.values.pop(name, None)
    for name, default in (("strategy", DEFAULT_STRATEGY), ("adapter", DEFAULT_ADAPTER)):
        source.values.setdefault(name, default)
    source.override(overrides)
    _fill_in(source.values)
    source.resolve()
    check_keys(source, (), source.values, names(RunConfig))
    parser = _Parser(source, load_plugins() if plugins is None else plugins)
    return parser.run(), parser.plugins


class _Parser:
    """Turns the source's values into a RunConfig, one key after the other."""

    def __init__(self, source: Source, plugins: Plugins) -> None:
        self.source = source
        self.plugins = plugins
        self.fail = source.fail
        self._seen: dict[str, tuple[Key, EnvironmentConfig]] = {}

    def run(self) -> RunConfig:
        values = self.source.values
        for section in ("grpo", "lora"):
            if isinstance(values[section], dict):
                check_training(self.source, section, values[section])
        # First the plain keys: plugins must be known to be texts before they are loaded.
        later: dict[str, Any] = dict.fromkeys(
            ("stream", "strategy", "adapter", "evaluate", "checkpoint")
        )
        first = build(self.source, RunConfig, values, (), source=self.source, **later)
        named = tuple(self.plugin(index, name) for index, name in enumerate(first.plugins))
        adapter = self.component(("adapter",), values["adapter"], self.plugins.adapters)
        return dataclasses.replace(
            first,
            plugins=named,
            model=self.model(first.model),
            strategy=self.strategy(values["strategy"]),
            adapter=adapter,
            stream=self.stream(values.get("stream"), adapter),
            evaluate=self.evaluate(values["evaluate"]),
            checkpoint=build(
                self.source, CheckpointConfig, values.get("checkpoint", {}), ("checkpoint",)
            ),
        )

    def plugin(self, index: int, name: str) -> str:
        """Load a plugin; its name, or the absolute path of its file."""
        directory = self.source.directory
        is_file = name.endswith(".py") or os.sep in name
        path = str((directory / os.path.expanduser(name)).resolve()) if is_file else name
        loaded = self.plugins.info()
        if any(path == (plugin.source if is_file else plugin.name) for plugin in loaded):
            return path  # by another configuration that shares these plugins
        try:
            self.plugins.add_named(path, directory)
        except (PluginError, ValueError, OSError) as error:
            self.fail(("plugins", index), str(error))
        return path

    def model(self, name: str) -> str:
        """A model's registered name or hub id as it is; a directory's absolute path."""
        if name in self.plugins.models:
            return name
        written = os.path.expanduser(name)
        for base in (self.source.directory, Path.cwd()):
            if name and os.path.isdir(base / written):
                directory = (base / written).resolve()
                self.check_model(directory)
                return str(directory)
            if name and os.path.isfile(base / written):
                self.fail(("model",), f"{name!r} is a file. Name the directory it is in.")
        if written.startswith(("/", "./", "../")):
            self.fail(("model",), f"there is no directory {name!r}. Check the path.")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
            self.fail(
                ("model",),
                f"no model is called {name!r}. {nearest(name, self.plugins.models)} "
                "Or give a directory, or a hub id, owner/name.",
            )
        return name

    def check_model(self, directory: Path) -> None:
        """Refuse a directory from which transformers could not load a model."""
        needed = {
            "config.json": ("config.json",),
            "weights (*.safetensors or pytorch_model*.bin)": (
                "*.safetensors",
                "pytorch_model*.bin",
            ),
            "tokenizer (tokenizer.json, tokenizer.model or vocab.*)": (
                "tokenizer.json",
                "*.model",
                "vocab.*",
                "*.tiktoken",
            ),
        }
        missing = [
            what
            for what, patterns in needed.items()
            if not any(item.is_file() for pattern in patterns for item in directory.glob(pattern))
        ]
        if missing:
            hint = "Save both the model and its tokenizer there with save_pretrained."
            if (directory / "adapter_config.json").is_file():
                hint = "It is a LoRA adapter alone: name the model it belongs to."
            self.fail(("model",), f"{directory} has no {', no '.join(missing)}. {hint}")

    def strategy(self, value: Any) -> Component:
        """One strategy, or several in a list."""
        key: Key = ("strategy",)
        if not isinstance(value, list):
            return self.component(key, value, self.plugins.strategies)
        if not value:
            self.fail(key, "the list is empty. Write for example `strategy: [replay, kl]`.")
        made = tuple(
            self.component((*key, index), item, self.plugins.strategies)
            for index, item in enumerate(value)
        )
        for index, component in enumerate(made):
            if component.name in [other.name for other in made[:index]]:
                self.fail((*key, index), f"{component.name!r} is there twice. Remove one.")
        if len(made) == 1:
            return made[0]
        return Composite("+".join(component.name for component in made), made)

    def stream(self, values: Any, adapter: Component) -> tuple[StageConfig, ...]:
        example = "Write for example `stream: [babyai, textcraft]`."
        if "stream" not in self.source.values:
            self.fail((), f"`stream` is missing. {example}")
        if not isinstance(values, list):
            self.fail(("stream",), f"{show(values)} is not a list of stages. {example}")
        if not values:
            self.fail(("stream",), f"there must be at least one stage. {example}")
        return tuple(
            self.stage(("stream", index), value, adapter) for index, value in enumerate(values)
        )

    def stage(self, key: Key, values: Any, adapter: Component) -> StageConfig:
        if isinstance(values, str):
            values = {"environment": values}
            environment = self.environment(key, values["environment"])
        elif not isinstance(values, dict):
            self.fail(key, f"{show(values)} is neither an environment's name nor a mapping.")
        else:
            check_keys(self.source, key, values, names(StageConfig), self.misplaced(values))
            if "environment" not in values:
                known = nearest("", self.plugins.environments)
                self.fail(key, f"`environment` is missing. {known}")
            environment = self.environment((*key, "environment"), values["environment"])
        if values.get("adapter") is not None:
            adapter_key = (*key, "adapter")
            adapter = self.component(adapter_key, values["adapter"], self.plugins.adapters)
        train = self.task_filter((*key, "train"), values.get("train", {}))
        if values.get("name") is None:
            values = {**values, "name": environment.label}
        return build(
            self.source,
            StageConfig,
            values,
            key,
            environment=environment,
            adapter=adapter,
            train=train,
        )

    def misplaced(self, values: dict[str, Any]) -> str:
        """A hint where a stage has keys that belong to its environment."""
        name = values.get("environment")
        if not isinstance(name, str) or name not in self.plugins.environments:
            return ""
        settings = self.plugins.environments[name].value.Config
        if not dataclasses.is_dataclass(settings):
            return ""
        own = [key for key in names(settings) if key in values and key != "name"]
        if not own:
            return ""
        return f" The environment's own: write `environment: {{name: {name}, {own[0]}: …}}`."

    def task_filter(self, key: Key, values: Any) -> TaskFilter:
        difficulty = values.get("difficulty") if isinstance(values, dict) else None
        many = difficulty if isinstance(difficulty, list) else [difficulty]
        if difficulty == []:
            self.fail((*key, "difficulty"), "the list is empty. Remove the key for all tasks.")
        for value in many:
            if difficulty is not None and (
                isinstance(value, bool) or not isinstance(value, (str, int))
            ):
                self.fail(
                    (*key, "difficulty"), f"{show(value)} is neither text nor a whole number."
                )
        chosen = None if difficulty is None else tuple(many)
        return build(self.source, TaskFilter, values, key, difficulty=chosen)

    def evaluate(self, values: Any) -> EvaluateConfig:
        key: Key = ("evaluate",)
        named = values.get("environments", []) if isinstance(values, dict) else []
        if not isinstance(named, list):
            message = f"{show(named)} is not a list. Write `environments: [textcraft]`."
            self.fail((*key, "environments"), message)
        environments = tuple(
            self.environment((*key, "environments", index), value)
            for index, value in enumerate(named)
        )
        return build(self.source, EvaluateConfig, values, key, environments=environments)

    def environment(self, key: Key, value: Any) -> EnvironmentConfig:
        """An environment; the same label always means the same settings."""
        label = value.get("label") if isinstance(value, dict) else None
        if label is not None and (not isinstance(label, str) or not label.strip()):
            self.fail((*key, "label"), f"{show(label)} is not a name.")
        own = {name: value.get(name) for name in OVERRIDES} if isinstance(value, dict) else {}
        for name, (wanted, allowed) in OVERRIDES.items():
            if own.get(name) is not None and not allowed(own[name]):
                self.fail((*key, name), f"{show(own[name])} is not {wanted}.")
        found = self.component(key, value, self.plugins.environments, ("label", *OVERRIDES))
        environment = EnvironmentConfig(found.name, found.settings, label or found.name, **own)
        place, other = self._seen.setdefault(environment.label, (key, environment))
        if plain(other) != plain(environment):
            self.fail(
                key,
                f"{environment.label!r} already stands for the environment at {dotted(place)}, "
                "which has another name or other settings. Give one of the two a `label` of its "
                "own: it is the name of its column in the result matrix.",
                of_children=True,
            )
        return environment

    def component(
        self, key: Key, value: Any, table: Table[Any], reserved: tuple[str, ...] = ()
    ) -> Component:
        """A registered thing, written as its name or as a mapping with `name` and settings."""
        if isinstance(value, str):
            name, name_key, settings = value, key, {}
        elif isinstance(value, dict):
            if "name" not in value:
                check_keys(self.source, key, {k: 0 for k in value if _like_name(k)}, ["name"])
                self.fail(key, f"`name` is missing. {nearest('', table)}")
            name, name_key = value["name"], (*key, "name")
            settings = {k: v for k, v in value.items() if k not in ("name", *reserved)}
        else:
            what = f"{show(value)} is neither a name nor a mapping with a `name`."
            self.fail(key, f"{what} {nearest('', table)}")
        if not isinstance(name, str) or name not in table:
            known = nearest(name, table)
            self.fail(name_key, f"no {table.kind} is called {show(name)}. {known}")
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
            return Component(name, build(self.source, cls, settings, key))
        except PluginError as error:
            raise PluginError(f"{who}: {error}") from error


def _fill_in(values: dict[str, Any]) -> None:
    """Add the plain defaults, so that ${interpolations} can refer to them."""
    for cls, target in ((RunConfig, values), (EvaluateConfig, values.setdefault("evaluate", {}))):
        for item in dataclasses.fields(cls):
            if isinstance(target, dict) and isinstance(item.default, (str, int)):
                target.setdefault(item.name, item.default)
    for section, defaults in (("grpo", GRPO_DEFAULTS), ("lora", LORA_DEFAULTS)):
        written = values.setdefault(section, {})
        if isinstance(written, dict):
            values[section] = {**defaults, **{str(name): value for name, value in written.items()}}


def _like_name(key: object) -> bool:
    """Whether a key is a misspelt `name`."""
    return "Did you mean" in nearest(key, ["name"])
