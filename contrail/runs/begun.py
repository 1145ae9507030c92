"""What the policy that a run begins with has been trained on, where it is that of another run."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrail.config import EnvironmentConfig, RunConfig, TaskFilter, build, plain
from contrail.environment import Task
from contrail.errors import ConfigError, ContrailError
from contrail.registry.plugins import Plugins
from contrail.runs.composition import compose
from contrail.runs.directory import STATE, RunDirectory, read_checkpoint
from contrail.runs.policies import LoRADirectory
from contrail.stream.scenario import Scenario
from contrail.stream.shared import trained_before
from contrail.workers.pool import EnvironmentPool


@dataclass(frozen=True)
class Begun:
    """What a run begins from: a run, one of its checkpoints, or another LoRA.

    Attributes:
        model: as the configuration names it.
        trained: the environments of this run that it has been trained on, or on test tasks of
            which it has been.
        history: all environments that it, and what it began from, have been trained on: of each
            the `label`, the registered `name`, the `settings`, and which tasks its stages `train`.
        notes: what the user should know of it.
    """

    model: str
    trained: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def begun_from(config: RunConfig, plugins: Plugins, scenario: Scenario) -> Begun | None:
    """Return what a run begins from; None if it is a model without a LoRA.

    Args:
        config: the run's.
        plugins: the loaded ones.
        scenario: made from both.

    Raises:
        ConfigError: the other run has no one policy.
        ContrailError: its checkpoint is damaged, or its configuration cannot be read.
    """
    lora = LoRADirectory.find(config.model, plugins)
    if lora is None:
        return None
    if lora.config is not None and _is_run(config.model, lora):
        _check_whole(config.model, lora, plugins)
    history = history_of(lora, plugins)
    if history is None:
        return Begun(
            config.model,
            notes=[
                f"what {config.model} has been trained on is not known: "
                "any of the run's environments may have been among it"
            ],
        )
    notes = unfinished(config.model, lora)
    if same := _trained(config, history):
        notes.append(f"{config.model} has been trained on {_listed(same)}: not held out here")
    begun = Begun(config.model, [], history, notes)
    return _compared(begun, config, plugins, scenario)


def kept(
    state: Mapping[str, Any], config: RunConfig, plugins: Plugins, scenario: Scenario
) -> Begun | None:
    """Return what a run began from, as its checkpoint knows it: the other run may have gone on
    since, or be gone. What this one has been given since is compared today.

    Args:
        state: of the checkpoint.
        config: the run's.
        plugins: the loaded ones.
        scenario: made from both.
    """
    found = state.get("begun_from")
    if found is None:
        return None
    compared = [name for row in state["evaluations"][:1] for name in row]
    return _compared(Begun(**found), config, plugins, scenario, compared)


def _compared(
    begun: Begun,
    config: RunConfig,
    plugins: Plugins,
    scenario: Scenario,
    compared: Container[str] = (),
) -> Begun:
    """Add the environments that have been trained on, but for those compared before."""
    trained = {*begun.trained, *_trained(config, begun.history)}
    notes = list(begun.notes)
    for item, column in zip(config.environments, scenario.test, strict=True):
        if item.label not in compared:
            tasks = column.tasks[item.label]
            found = tested_before(begun.model, begun.history, item, tasks, scenario.pool, plugins)
            notes += found.notes
            if found.shared:
                trained.add(item.label)
    labels = [item.label for item in config.environments if item.label in trained]
    return Begun(begun.model, labels, begun.history, notes)


@dataclass(frozen=True)
class TestedBefore:
    """Whether test tasks of an environment have been trained on, and what the user should know."""

    shared: bool
    notes: list[str]


def tested_before(
    model: str,
    history: Sequence[Mapping[str, Any]],
    item: EnvironmentConfig,
    tasks: Sequence[Task],
    pool: EnvironmentPool,
    plugins: Plugins,
) -> TestedBefore:
    """Compare test tasks with those a policy has been trained on in the same environment.

    With the same settings they differ, since the environment keeps its splits apart. With others,
    what `leaks.shared_start` can tell is told.

    Args:
        model: what the policy is named by.
        history: of `Begun`.
        item: the environment that is tested.
        tasks: its test tasks.
        pool: to play it on.
        plugins: the loaded ones.
    """
    shared, notes = False, []
    for past, filters in _merged(history):
        if past["name"] != item.name or past["settings"] == plain(item.settings):
            continue
        before = (
            f"{model} has been trained on {past['label']!r} with other settings than "
            f"{item.label!r} has here"
        )
        try:
            settings: Any = build(plugins.environments[item.name].value.Config, past["settings"])
            config = EnvironmentConfig(item.name, settings, past["label"])
            task = trained_before(item, tasks, pool, config, filters, plugins)
        except ContrailError as error:
            notes.append(f"{before}: whether on test tasks is not known ({error})")
            continue
        if task is None:
            notes.append(f"{before}, and on none of its test tasks that is known")
        else:
            notes.append(f"{before}, and on its test task {task.id!r}: not held out here")
            shared = True
    return TestedBefore(shared, notes)


def unfinished(name: str, lora: LoRADirectory | None) -> list[str]:
    """Return a note if a model is named by a run that has not ended.

    Args:
        name: of the model.
        lora: found under the name, if there is one.
    """
    if lora is None or not _is_run(name, lora) or RunDirectory(Path(name)).result.is_file():
        return []
    return [f"{name} has not ended: its policy is that of checkpoint {lora.path.name}"]


def _is_run(name: str, lora: LoRADirectory) -> bool:
    return (Path(name) / "config.yaml").is_file() and (lora.path / STATE).is_file()


def _check_whole(name: str, lora: LoRADirectory, plugins: Plugins) -> None:
    """Refuse a run that has no one policy.

    Raises:
        ConfigError: the run has no one policy.
    """
    assert lora.config is not None
    strategy = compose(lora.config, plugins)
    used = lora.config.strategy.name
    if strategy.own_loras:
        raise ConfigError(
            f"{name} has a LoRA for each environment, by {used!r}. Name the checkpoint after the "
            f"stage of one, such as {lora.path}.",
            key=("model",),
        )
    state = read_checkpoint(lora.path)
    warming_up = lora.config.warmup is not None and state["stage"] == 0
    if strategy.branches and state["update"] and not warming_up:
        raise ConfigError(
            f"{name} has stopped within a stage, and what {used!r} trains there is no part of its "
            "policy yet. Let it end, or name one of its checkpoints after a stage.",
            key=("model",),
        )


def history_of(lora: LoRADirectory, plugins: Plugins) -> list[dict[str, Any]] | None:
    """Return what a LoRA has been trained on, as `Begun.history`; None if it is not known, as of a
    LoRA that is no run's."""
    if lora.config is None:
        return None
    try:
        if (lora.path / STATE).is_file():
            record: Mapping[str, Any] = read_checkpoint(lora.path)
        else:  # `contrail export` has written it
            record = json.loads((lora.path / "result.json").read_text())
        played = record["played"]
    except (OSError, ValueError, LookupError):
        return None
    if compose(lora.config, plugins).restarts:  # with the policy after the warm-up, if there is one
        played = [*(played[:1] if lora.config.warmup is not None else ()), *played[-1:]]
    names = {name for stage in played for name in stage}
    earlier = (record.get("begun_from") or {}).get("history", [])
    own = [_record(item, lora.config) for item in lora.config.environments if item.label in names]
    return [*earlier, *(item for item in own if item not in earlier)]


def _trained(config: RunConfig, history: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        item.label for item in config.environments if any(_same(item, past) for past in history)
    ]


def _record(item: EnvironmentConfig, config: RunConfig) -> dict[str, Any]:
    filters = [stage.train for stage in config.stream if stage.environment.label == item.label]
    return {
        "label": item.label,
        "name": item.name,
        "settings": plain(item.settings),
        "train": plain(filters),
    }


def _merged(
    history: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], list[TaskFilter]]]:
    """Yield each environment once, with the training tasks of all its stages."""
    found: dict[str, tuple[Mapping[str, Any], list[TaskFilter]]] = {}
    for past in history:
        key = repr([past["label"], past["name"], past["settings"]])
        filters = found.setdefault(key, (past, []))[1]
        filters += [_filter(values) for values in past.get("train", [{}])]
    yield from found.values()


def _filter(values: Mapping[str, Any]) -> TaskFilter:
    difficulty = values.get("difficulty")
    return TaskFilter(None if difficulty is None else tuple(difficulty), values.get("tasks"))


def _same(item: EnvironmentConfig, past: Mapping[str, Any]) -> bool:
    alike = item.label == past["label"] or plain(item.settings) == past["settings"]
    return bool(alike and item.name == past["name"])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
