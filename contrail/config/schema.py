"""A resolved stream file, and its conversion back into YAML.

Names refer to existing things, settings are instances of their `Config` dataclasses, and every
default is filled in. A field's metadata holds its bounds ("min", "max"), and "identity": False if
the value does not identify the run, but only how it is computed.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from contrail.config.source import escape
from contrail.config.training import GRPOSettings, LoRASettings
from contrail.errors import Key, dotted
from contrail.registry.observers import DEFAULT_TRACKERS
from contrail.shift.shifted import Shift
from contrail.tasks.split import TaskSplit

COMPARISON_KEYS = ("strategies", "orders", "seeds", "baseline", "jobs")
"""Of the file of a comparison, beside those of a stream file."""
STUDY_KEYS = (
    *("environments", "strategies", "interfaces", "orders", "seeds", "updates", "jobs", "warmup"),
)
"""Of the file of a study, beside those of a stream file."""


NO_KEYS = ("settings", "path")
"""Fields of a component that are no keys of a stream file."""


@dataclass(frozen=True)
class Component:
    """A strategy or an adapter: its registered name, and an instance of its class's `Config`."""

    name: str
    settings: Any
    path: str | None = field(default=None, kw_only=True)
    """Of a class that is named by its file: what stands for the name in a configuration, which is
    read from any directory."""


@dataclass(frozen=True)
class Composite(Component):
    """Several strategies: their names joined by +, and their components as the settings."""

    settings: tuple[Component, ...]


@dataclass(frozen=True)
class EnvironmentConfig(Component):
    """An environment; `label` is the name of its column in R, the rest is its own if None."""

    label: str
    max_turns: int | None = None
    workers: int | None = None
    step_timeout: float | None = None
    # Not written without one: so earlier versions' configurations, and their keys, stay the same.
    shift: Shift | None = field(default=None, metadata={"optional": True})
    pass_rates: TaskSplit | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class TaskFilter:
    """The training tasks of a stage."""

    difficulty: tuple[str | int, ...] | None = None
    """The difficulties to use; None for all."""
    tasks: int | None = field(default=None, metadata={"min": 1})
    """The largest number of tasks; None for all."""


@dataclass(frozen=True)
class StageConfig:
    """One stage of the stream."""

    environment: EnvironmentConfig
    adapter: Component
    name: str
    learn: Component
    train: TaskFilter = TaskFilter()
    updates: int = field(default=40, metadata={"min": 0})


@dataclass(frozen=True)
class WarmupConfig:
    """A first stage on the tasks of all stages, in which no strategy acts yet."""

    learn: Component
    updates: int = field(default=40, metadata={"min": 1})


@dataclass(frozen=True)
class EvaluateConfig:
    """How every environment is evaluated."""

    tasks: int = field(default=32, metadata={"min": 1})
    """The number of test tasks per environment (a fixed random subset)."""
    samples: int = field(default=1, metadata={"min": 1})
    """The number of episodes per task."""
    decoding: Literal["sample", "greedy"] = "sample"
    """Whether actions are sampled or the likeliest is taken."""
    every: int | None = field(default=None, metadata={"min": 1})
    """The number of updates after which all environments are evaluated within a stage, for learning
    curves; None for never."""
    drift: bool = False
    """Whether each row of R has its drift beside it: the divergence of the trained policy from the
    base model and from the stage before. It costs two or three forwards of each test episode."""
    baselines: bool = True
    """Whether random play and the expert are shown beside the model's scores."""
    environments: tuple[EnvironmentConfig, ...] = ()
    """Environments to evaluate in addition to those of the stream."""


@dataclass(frozen=True)
class AnswersConfig:
    """How the model's answers are treated."""

    past_thoughts: Literal["keep", "drop"] = "keep"
    """Whether the thoughts of earlier turns stay in the context as the model has written them, or
    are dropped as the model's chat template drops them."""
    invalid_penalty: float = field(default=0.0, metadata={"min": 0})
    """Subtracted from the reward, in training, for each invalid turn."""
    end_after_invalid: int | None = field(default=None, metadata={"min": 1})
    """The number of invalid turns in a row after which an episode ends; None for never."""
    cut_off: Literal["learn", "leave_out", "penalise"] = "learn"
    """What training does with an answer that was cut off: learn from it as from any other, leave
    its turn out of the loss, or subtract `cut_off_penalty` from the reward."""
    cut_off_penalty: float = field(default=0.0, metadata={"min": 0})

    def __post_init__(self) -> None:
        """Refuse a penalty without its rule, and the rule without a penalty."""
        if (self.cut_off == "penalise") != (self.cut_off_penalty > 0):
            raise ValueError(
                f"cut_off is {self.cut_off} and cut_off_penalty is {self.cut_off_penalty:g}. "
                "Set both, for example `{cut_off: penalise, cut_off_penalty: 0.1}`, or neither."
            )

    @property
    def penalises(self) -> bool:
        """Whether there is a penalty."""
        return self.invalid_penalty > 0 or self.cut_off_penalty > 0


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved within its stages; at their ends it always is.

    `updates`: between two checkpoints; None for about two minutes. `keep`: the number of newest
    checkpoints within stages that are kept.
    """

    updates: int | None = field(default=None, metadata={"min": 1})
    keep: int = field(default=2, metadata={"min": 1})


@dataclass(frozen=True)
class RunConfig:
    """A stream file with its overrides, resolved.

    `model` is a registered name, a hub id, or the absolute path of a directory. `max_context` is
    the most tokens an episode may have (None: as many as the model takes). `grpo_config` and
    `lora_config` make trl's and peft's objects of `grpo` and `lora`.
    """

    stream: tuple[StageConfig, ...]
    strategy: Component
    adapter: Component
    evaluate: EvaluateConfig
    warmup: WarmupConfig | None = None
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    name: str | None = field(default=None, metadata={"identity": False})
    """The title of reports and figures; None for the name of the run's directory."""
    model: str = "smollm2-135m"
    seed: int = field(default=0, metadata={"min": 0, "max": 2**32 - 1})
    plugins: tuple[str, ...] = ()
    trackers: tuple[str, ...] = field(default=DEFAULT_TRACKERS, metadata={"identity": False})
    grpo: GRPOSettings = field(default_factory=GRPOSettings)
    lora: LoRASettings = field(default_factory=LoRASettings)
    threads: int = field(default=1, metadata={"min": 1, "max": 1024, "identity": False})
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata={"identity": False})
    trust_remote_code: bool = False
    max_context: int | None = field(default=None, metadata={"min": 1})
    cache_gb: float | None = field(default=None, metadata={"min": 0.01})
    checkpoint: CheckpointConfig = field(
        default_factory=CheckpointConfig, metadata={"identity": False}
    )

    @property
    def strategies(self) -> tuple[Component, ...]:
        """The strategies, each for itself."""
        strategy = self.strategy
        return strategy.settings if isinstance(strategy, Composite) else (strategy,)

    @property
    def environments(self) -> tuple[EnvironmentConfig, ...]:
        """The columns of R, each label once: in the order of the stream, then the unseen
        environments."""
        trained = [stage.environment for stage in self.stream]
        every = [*trained, *self.evaluate.environments]
        return tuple({environment.label: environment for environment in every}.values())

    def original(self, label: str) -> str | None:
        """Return the column of the same environment without a column's interface shift.

        With other shifts beside an alias, it is the column with these alone. None if there is no
        such column.
        """
        column = next((item for item in self.environments if item.label == label), None)
        if column is None or column.shift is None:
            return None
        rest = Shift() if column.shift.alias is None else replace(column.shift, alias=None)
        wanted = _game(replace(column, shift=None if rest == Shift() else rest))
        others = [item for item in self.environments if item.label != label]
        return next((item.label for item in others if _game(item) == wanted), None)

    def dice_of(self, label: str) -> str:
        """Return the column whose dice the evaluation of a column uses: its original's, so that
        versions of an environment are compared with the same luck."""
        original = self.original(label)
        return label if original is None else self.dice_of(original)

    def adapter_of(self, label: str) -> Component:
        """Return the adapter of a column: that of its first stage, or of its original's."""
        for stage in self.stream:
            if stage.environment.label == label:
                return stage.adapter
        original = self.original(label)
        return self.adapter if original is None else self.adapter_of(original)


def _game(environment: EnvironmentConfig) -> Any:
    """Return all that decides how an environment plays."""
    return plain(replace(environment, label="", workers=None, step_timeout=None))


def task_source(environment: EnvironmentConfig) -> dict[str, Any]:
    """Return all that decides which tasks an environment has, and how well they can be solved."""
    found: dict[str, Any] = _game(replace(environment, pass_rates=None))
    del found["label"], found["workers"], found["step_timeout"]
    return found


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the whole configuration as plain values, in the order of a stream file."""
    order = [
        "name",
        "model",
        "seed",
        "plugins",
        "warmup",
        "stream",
        "strategy",
        "adapter",
        "evaluate",
    ]
    values = {name: getattr(config, name) for name in dict.fromkeys(order + names(RunConfig))}
    written: dict[str, Any] = plain(values)
    for stage in written["stream"]:
        if stage["adapter"] == written["adapter"]:
            stage["adapter"] = None
    return written


def to_yaml(config: RunConfig) -> str:
    """Return the whole configuration as YAML that loads, from any directory, to the same again."""
    return OmegaConf.to_yaml(OmegaConf.create(escape(to_dict(config))))


NOT_IDENTITY = frozenset(
    item.name for item in dataclasses.fields(RunConfig) if not item.metadata.get("identity", True)
)
"""The top-level keys that may change when a run is continued, because they do not identify it."""


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as plain values, with only the keys that identify the run."""
    return {name: value for name, value in values.items() if name not in NOT_IDENTITY}


def differences(old: RunConfig, new: RunConfig) -> list[tuple[str, Any, Any]]:
    """Return the dotted keys in which two runs differ, with both values; None for a missing
    value."""
    before, after = (dict(_leaves(identity(to_dict(config)), ())) for config in (old, new))
    return [
        (dotted(key), before.get(key), after.get(key))
        for key in before | after
        if before.get(key) != after.get(key)
    ]


def names(cls: type) -> list[str]:
    """Return the fields of a dataclass that can be written in YAML."""
    return [item.name for item in dataclasses.fields(cls) if item.init]


def plain(value: Any) -> Any:
    """Dataclasses, enums and tuples as mappings, names and lists."""
    if isinstance(value, Composite):
        return plain(value.settings)
    if isinstance(value, Component):
        common = {
            item.name: plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if item.name not in NO_KEYS
            and not (item.metadata.get("optional") and getattr(value, item.name) is None)
        }
        return {**common, "name": value.path or value.name, **plain(value.settings)}
    if dataclasses.is_dataclass(value):
        return {name: plain(getattr(value, name)) for name in names(type(value))}
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name
    return str(value) if isinstance(value, Path) else value


def _leaves(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    """Yield all values with their keys; a list of plain values is one value."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*key, name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*key, index))
    else:
        yield key, value
