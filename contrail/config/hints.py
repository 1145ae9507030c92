"""Finds the right position of a key that was written at a wrong one."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contrail.config.convert import UnknownKey
from contrail.config.schema import (
    COMPARISON_KEYS,
    NO_KEYS,
    STUDY_KEYS,
    AnswersConfig,
    CheckpointConfig,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    StageConfig,
    TaskFilter,
    WarmupConfig,
    names,
)
from contrail.config.training import GRPOSettings, LoRASettings
from contrail.errors import Key, dotted
from contrail.registry.plugins import Plugins
from contrail.registry.registered import Table
from contrail.shift.shifted import Shift

MANY = 4
"""Plugins that a hint names."""
STAGE = "N"
"""Replaces the number of a stage in keys."""


def add_hint(error: UnknownKey, values: Mapping[str, Any], plugins: Plugins) -> None:
    """Add to the error where its key belongs, if such a position exists.

    Args:
        error: reports an unknown key.
        values: the stream file.
        plugins: the plugins whose settings are searched, for the names in the file.
    """
    written = _generic(error.key or ())
    if len(written) == 1 and (command := _command(written[0], values)):
        error.message = f"unknown key. It is one of `{command}`'s."
        return
    places = [
        place for place in (*_places(), *_settings(values, plugins)) if place[:-1] != written[:-1]
    ]
    inner: Key = written[-1:]
    value = error.value
    while isinstance(value, dict) and len(value) == 1:
        [(name, value)] = value.items()
        inner = (*inner, str(name))
    found = _ending(inner, places, written) or _ending(written[-1:], places, written)
    if found is None and (owners := _owners(str(written[-1]), plugins)):
        error.message = f"{error.message} It is a setting of {owners}."
        return
    if found is None:
        leaf, likeness = _likest(written[-1], [place[-1] for place in places])
        if likeness > max(0.75, _likest(written[-1], error.known)[1]):
            found = _ending((leaf,), places, written)
    if found is not None:
        error.message = (
            f"unknown key. Did you mean {_shown(found, error.key or ())} {error.hint}".rstrip()
        )


def _command(name: str | int, values: Mapping[str, Any]) -> str | None:
    """Return the command that takes such a key, if a stream file does not."""
    if name in STUDY_KEYS and "environments" in values and "stream" not in values:
        return "contrail study"
    return "contrail compare" if name in COMPARISON_KEYS else None


def override_of(name: str) -> str | None:
    """Return the key that ends in `name`, as an override writes it; None if there is none."""
    found = _ending((name,), _places(), ())
    return (
        None if found is None else dotted(tuple("*" if part == STAGE else part for part in found))
    )


def _places() -> Iterator[Key]:
    """Yield all keys of a stream file that are not settings of plugins."""
    stage: Key = ("stream", STAGE)
    for above, cls in (
        ((), RunConfig),
        (("grpo",), GRPOSettings),
        (("lora",), LoRASettings),
        (("evaluate",), EvaluateConfig),
        (("answers",), AnswersConfig),
        (stage, StageConfig),
        ((*stage, "train"), TaskFilter),
        ((*stage, "environment"), EnvironmentConfig),
        ((*stage, "environment", "shift"), Shift),
        (("checkpoint",), CheckpointConfig),
        (("warmup",), WarmupConfig),
    ):
        for name in names(cls):
            if name not in NO_KEYS:
                yield (*above, name)


def _settings(values: Mapping[str, Any], plugins: Plugins) -> Iterator[Key]:
    """Yield the keys of the settings of all names in a stream file, as far as they are known."""
    stages = values.get("stream")
    environments = [
        stage.get("environment") if isinstance(stage, dict) else stage
        for stage in (stages if isinstance(stages, list) else [])
    ]
    strategies = values.get("strategy")
    tables: tuple[tuple[Key, Table[Any], list[Any]], ...] = (
        (
            ("strategy",),
            plugins.strategies,
            strategies if isinstance(strategies, list) else [strategies],
        ),
        (("adapter",), plugins.adapters, [values.get("adapter")]),
        (("stream", STAGE, "environment"), plugins.environments, environments),
    )
    for above, table, written in tables:
        for value in written:
            name = value.get("name") if isinstance(value, dict) else value
            cls: Any = table[name].value.Config if isinstance(name, str) and name in table else None
            if isinstance(cls, type) and dataclasses.is_dataclass(cls):
                yield from ((*above, setting) for setting in names(cls))


def _owners(name: str, plugins: Plugins) -> str:
    """Return the strategies, objectives, adapters or environments with a setting of this name."""
    for kind, plural, table in (
        ("strategy", "strategies", plugins.strategies),
        ("objective", "objectives", plugins.objectives),
        ("adapter", "adapters", plugins.adapters),
        ("environment", "environments", plugins.environments),
    ):
        found = [item for item in table if name in _fields(table[item].value)]
        if found:
            shown = [repr(item) for item in found[:MANY]]
            more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
            return f"the {kind if len(found) == 1 else plural} {', '.join(shown)}{more}"
    return ""


def _fields(plugin: Any) -> Sequence[str]:
    cls: Any = getattr(plugin, "Config", None)
    return list(names(cls)) if isinstance(cls, type) and dataclasses.is_dataclass(cls) else []


def _generic(key: Key) -> Key:
    """Return a key with N for the number of its stage."""
    return ("stream", STAGE, *key[2:]) if len(key) > 2 and key[0] == "stream" else key


def _ending(end: Key, places: Iterable[Key], written: Key) -> Key | None:
    """Return the candidate with this end that is nearest to the key in the file."""
    found = [place for place in places if place[-len(end) :] == end]
    return max(found, key=lambda place: _agreeing(place, written), default=None)


def _agreeing(one: Key, other: Key) -> int:
    """Return the number of parts two keys have in common from the beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _likest(name: str | int, known: Iterable[str | int]) -> tuple[str, float]:
    """Return the known name that is most similar to a name, and the similarity, from 0 to 1."""
    matcher = difflib.SequenceMatcher(b=str(name))
    likeness = {}
    for item in map(str, known):
        matcher.set_seq1(item)
        likeness[item] = matcher.ratio()
    return max(likeness.items(), key=lambda item: item[1], default=("", 0.0))


def _shown(place: Key, key: Key) -> str:
    if place[:2] == ("stream", STAGE) and key[:1] == ("stream",):
        place = (*key[:2], *place[2:])
    note = " N: a stage, from 0; on the command line * for all." if STAGE in place else ""
    return f"{dotted(place)!r}?{note}"
