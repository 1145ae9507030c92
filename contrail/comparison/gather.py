"""Finished runs as rows of a comparison, and whether they are comparable."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contrail.config import EvaluateConfig, GRPOSettings, LoRASettings, identity, plain, show
from contrail.errors import ConfigError, ContrailError
from contrail.runs.directory import RunDirectory

# Everything else must be the same, so that only the compared settings make the difference.
COMPARED = {"strategy", "seed", "stream", "plugins"}


@dataclass(frozen=True)
class Row:
    """One finished run: its strategy's label, the names of its stages in order, its seed, the
    content of result.json, and its configuration as plain values."""

    files: RunDirectory
    strategy: str
    order: tuple[str, ...]
    seed: int
    result: dict[str, Any]
    config: dict[str, Any]


def read_row(files: RunDirectory, strategy: str, order: Sequence[str]) -> Row:
    """Return a finished run.

    Raises:
        ContrailError: it has not ended, or cannot be read.
    """
    result = files.read_result()
    try:
        config = yaml.safe_load(files.config.read_text())
        label = strategy or _name(config["strategy"])
        names = tuple(order) or tuple(stage["name"] for stage in config["stream"])
        return Row(files, label, names, result["seed"], result, config)
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ContrailError(f"{files.config} cannot be read: {error!r}") from error


def read_rows(directories: Sequence[Path]) -> list[Row]:
    """Runs that were made one by one, with labels that tell them apart.

    Raises:
        ContrailError: a run has not ended, or the runs are not comparable.
    """
    rows = [read_row(RunDirectory(directory), "", ()) for directory in directories]
    check_comparable(rows)
    labels = _labels(_shortened([row.config["strategy"] for row in rows]))
    rows = [
        Row(row.files, label, row.order, row.seed, row.result, row.config)
        for row, label in zip(rows, labels, strict=True)
    ]
    seen: dict[tuple[str, tuple[str, ...], int], Row] = {}
    for row in rows:
        same = seen.setdefault((row.strategy, row.order, row.seed), row)
        if same is not row:
            raise ConfigError(
                f"{same.files.path} and {row.files.path} are the same strategy, order and seed. "
                "Compare one of them."
            )
    return rows


def check_comparable(rows: Sequence[Row], *, meant: Collection[str] = ()) -> None:
    """Refuse runs that differ in more than strategy, order of the stages and seed.

    Args:
        rows: finished runs.
        meant: further keys in which they are meant to differ: sections of the configuration, and
            keys of a stage.

    Raises:
        ConfigError: they differ; the message names the keys.
    """
    first = rows[0]
    for other in rows[1:]:
        reasons = list(_reasons(first, other, meant))
        if reasons:
            more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
            raise ConfigError(
                f"{first.files.path} and {other.files.path} are not comparable: "
                f"{'; '.join(reasons[:3])}{more}. Only their strategy, the order of their "
                "stages and their seed may differ."
            )


def _reasons(first: Row, other: Row, meant: Collection[str]) -> Iterator[str]:
    columns = [set(row.result["environments"]) for row in (first, other)]
    if columns[0] != columns[1]:
        yield f"the environments evaluated are {_listed(columns[0])} and {_listed(columns[1])}"
        return
    stages = [_stages(row.config, meant) for row in (first, other)]
    if stages[0] != stages[1]:
        names = [_listed(stage["name"] for stage in row.config["stream"]) for row in (first, other)]
        what = f"{names[0]} and {names[1]}" if names[0] != names[1] else "of other settings"
        yield f"the streams have other stages, {what}"
    adapters = [_adapters(row.config) for row in (first, other)]
    for name in sorted(adapters[0].keys() & adapters[1].keys()):
        one, another = (show(item[name]) for item in adapters)
        if one != another:
            yield f"{name!r} is evaluated through the adapters {one} and {another}"
    for name in first.result["environments"]:
        tasks = [set(row.result["evaluations"][0][name]["scores"]) for row in (first, other)]
        if tasks[0] != tasks[1]:
            counts = f"{len(tasks[0])} and {len(tasks[1])}, {len(tasks[0] & tasks[1])} in common"
            yield f"{name!r} is tested on other tasks ({counts})"
    before, after = (dict(_leaves(_fixed(row.config))) for row in (first, other))
    for key in before | after:
        if before.get(key) != after.get(key) and key.split(".")[0] not in meant:
            yield f"{key} is {show(before.get(key))} and {show(after.get(key))}"
    # Episodes follow from updates and settings, less those that an objective or a fault leaves out.
    spent = [row.result["budget"]["updates"] for row in (first, other)]
    if spent[0] != spent[1] and all(spent):  # none at all is no training: a reference
        yield (
            f"they trained {spent[0]} and {spent[1]} updates, a number that no strategy and order "
            "may change"
        )


def _fixed(config: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {name: value for name, value in identity(config).items() if name not in COMPARED}
    # Runs of earlier versions wrote only the keys that were set.
    for name, cls in (("grpo", GRPOSettings), ("lora", LoRASettings)):
        fixed[name] = {**plain(cls()), **fixed.get(name, {})}
    fixed["evaluate"] = {"drift": EvaluateConfig.drift, **fixed["evaluate"]}
    return fixed


def _adapters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the adapters of the environments that have a stage: that of the first one."""
    found: dict[str, Any] = {}
    for stage in config["stream"]:
        adapter = stage.get("adapter") or config["adapter"]
        found.setdefault(stage["environment"]["label"], adapter)
    return found


def _stages(config: Mapping[str, Any], meant: Collection[str]) -> list[str]:
    """Return the stages in an order of their own, without the keys that are meant to differ."""
    stages = [
        {name: value for name, value in stage.items() if name not in meant}
        for stage in config["stream"]
    ]
    return sorted(json.dumps(stage, sort_keys=True) for stage in stages)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Plain values by dotted key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _name(strategy: Any) -> str:
    if isinstance(strategy, list):
        return " + ".join(_name(part) for part in strategy)
    return str(strategy["name"])


def _shortened(strategies: Sequence[Any]) -> list[Any]:
    """Return the strategies; those that are named by a file without its directory, unless there
    are several files of the name."""
    parts = [part for item in strategies for part in (item if isinstance(item, list) else [item])]
    paths: dict[str, set[str]] = {}
    for part in parts:
        name = str(part["name"])
        paths.setdefault(name.rpartition("/")[2], set()).update([name] if "/" in name else [])

    def short(part: dict[str, Any]) -> dict[str, Any]:
        name = str(part["name"]).rpartition("/")[2]
        return {**part, "name": name} if len(paths[name]) < 2 else part

    return [[*map(short, item)] if isinstance(item, list) else short(item) for item in strategies]


def _labels(strategies: Sequence[Any]) -> list[str]:
    """Names, with the settings in which strategies of one name differ."""
    flat = [
        dict(
            _leaves(
                strategy
                if isinstance(strategy, dict)
                else {str(index): part for index, part in enumerate(strategy)}
            )
        )
        for strategy in strategies
    ]
    names = [_name(strategy) for strategy in strategies]
    labels = []
    for name, settings in zip(names, flat, strict=True):
        same = [other for other, theirs in zip(flat, names, strict=True) if theirs == name]
        differing = [
            key for key in settings if any(settings[key] != other.get(key) for other in same)
        ]
        shown = [f"{key}={show(settings[key]).strip(chr(39))}" for key in differing]
        labels.append(" ".join([name, *shown]))
    return labels


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) if isinstance(names, set) else " > ".join(names)
