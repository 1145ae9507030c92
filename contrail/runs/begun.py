"""What the policy that a run begins with has been trained on, where it is that of another run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrail.config import EnvironmentConfig, RunConfig, plain
from contrail.errors import ConfigError
from contrail.registry.plugins import Plugins
from contrail.runs.composition import compose
from contrail.runs.directory import STATE, RunDirectory, read_checkpoint
from contrail.runs.policies import LoRADirectory


@dataclass(frozen=True)
class Begun:
    """What a run begins from: a run, one of its checkpoints, or another LoRA.

    Attributes:
        model: as the configuration names it.
        trained: the environments of this run that it has been trained on.
        history: all environments that it, and what it began from, have been trained on: of each
            the `label`, the registered `name` and the `settings`.
        notes: what the user should know of it.
    """

    model: str
    trained: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def begun_from(config: RunConfig, plugins: Plugins) -> Begun | None:
    """Return what a run begins from; None if it is a model without a LoRA.

    Raises:
        ConfigError: the other run has no one policy.
        ContrailError: its checkpoint is damaged, or its configuration cannot be read.
    """
    lora = LoRADirectory.find(config.model, plugins)
    if lora is None:
        return None
    if lora.config is None:
        return Begun(
            config.model,
            notes=[
                f"what {config.model} has been trained on is not known: "
                "any of the run's environments may have been among it"
            ],
        )
    if _is_run(config.model, lora):
        _check_whole(config.model, lora, plugins)
    notes = unfinished(config.model, lora)
    history = _history(lora, plugins)
    same = _trained(config, history)
    alike = {
        item.label: past["label"]
        for item in config.environments
        for past in history
        if item.label not in same and item.name == past["name"]
    }
    if same:
        notes.append(f"{config.model} has been trained on {_listed(same)}: not held out here")
    notes += [
        f"{config.model} has been trained on {past!r}, which is {label!r} with other settings: "
        "whether they share tasks is not checked"
        for label, past in alike.items()
    ]
    return Begun(config.model, same, history, notes)


def kept(state: Mapping[str, Any], config: RunConfig) -> Begun | None:
    """Return what a run began from, as its checkpoint knows it: the other run may have gone on
    since, or be gone, and this one may have further environments."""
    found = state.get("begun_from")
    if found is None:
        return None
    return Begun(**{**found, "trained": _trained(config, found["history"])})


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


def _history(lora: LoRADirectory, plugins: Plugins) -> list[dict[str, Any]]:
    """Return the environments that a LoRA of a run has been trained on."""
    assert lora.config is not None
    if (lora.path / STATE).is_file():
        record: Mapping[str, Any] = read_checkpoint(lora.path)
    else:  # `contrail export` has written it
        record = json.loads((lora.path / "result.json").read_text())
    played = record["played"]
    if compose(lora.config, plugins).restarts:
        played = played[-1:]
    names = {name for stage in played for name in stage}
    earlier = (record.get("begun_from") or {}).get("history", [])
    own = [_record(item) for item in lora.config.environments if item.label in names]
    return [*earlier, *(item for item in own if item not in earlier)]


def _trained(config: RunConfig, history: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        item.label for item in config.environments if any(_same(item, past) for past in history)
    ]


def _record(item: EnvironmentConfig) -> dict[str, Any]:
    return {"label": item.label, "name": item.name, "settings": plain(item.settings)}


def _same(item: EnvironmentConfig, past: Mapping[str, Any]) -> bool:
    mine = _record(item)
    alike = mine["label"] == past["label"] or mine["settings"] == past["settings"]
    return bool(alike and item.name == past["name"])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
