"""The runs of a comparison: a stream x strategies x orders x seeds, checked before anything
runs."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from contrail.comparison.entries import Entry, read_entry
from contrail.config import COMPARISON_KEYS, RunConfig, Source, load, plain, show, to_yaml
from contrail.errors import ConfigError, nearest
from contrail.registry.plugins import Plugins
from contrail.seeding import generator

MOST_ORDERS = 120
LONGEST_NAME = 160
"""Bytes of a run directory's name; file systems allow 255, and files beside it have longer ones."""


@dataclass(frozen=True)
class ComparisonOptions:
    """The options of a comparison; None means: as in the YAML file, or the default."""

    strategies: Sequence[Any] | None = None
    """As in a stream file, with a list for a composition; see `contrail.comparison.entries`."""
    orders: str | int | Sequence[Sequence[str]] | None = None
    """"given", "all", a number of orders, or lists of the stages' names."""
    seeds: Sequence[int] | None = None
    baseline: str | None = None
    jobs: int | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison: a strategy's label, the names of the stages in order, and a seed."""

    strategy: str
    order: tuple[str, ...]
    seed: int
    config: RunConfig

    def __str__(self) -> str:
        return f"{self.strategy}, {' > '.join(self.order)}, seed {self.seed}"

    @property
    def directory(self) -> str:
        """The name of its run directory."""
        return run_directory(self.strategy, self.order, self.seed)


def run_directory(strategy: str, order: Sequence[str], seed: int) -> str:
    """Return the name of the directory of a run, by its strategy's label and its stages' names."""
    name = re.sub(r"[^\w.=+-]+", "-", f"{strategy}_{'-'.join(order)}_seed{seed}")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: LONGEST_NAME // 4]}_{digest}_seed{seed}"


@dataclass(frozen=True)
class Plan:
    """All runs of a comparison, and its baseline."""

    strategies: list[str]
    orders: list[tuple[str, ...]]
    seeds: list[int]
    baseline: str
    jobs: int
    runs: list[PlannedRun]
    differs: set[str]
    """Sections of the configuration, and keys of a stage, that the strategies' entries set."""


def read_plan(
    origin: Path | Source, overrides: Sequence[str], options: ComparisonOptions, plugins: Plugins
) -> Plan:
    """Read a stream file, or a comparison's file, and make the configuration of every run.

    A comparison's file is a stream file with the `COMPARISON_KEYS`; `stream` may name another file.

    Raises:
        ConfigError: a key, a strategy, an order or an override asks for something impossible.
    """
    source = origin if isinstance(origin, Source) else Source(origin)
    with source.located():
        return _Planner(source, overrides, options, plugins).plan()


class _Planner:
    def __init__(
        self,
        source: Source,
        overrides: Sequence[str],
        options: ComparisonOptions,
        plugins: Plugins,
    ) -> None:
        self.source = source
        self.overrides = list(overrides)
        self.plugins = plugins
        stream = self.source.values.get("stream")
        self.stream: Path | Source = source
        if isinstance(stream, str):
            self.stream = source.directory / stream
        self.flags = {name for name in COMPARISON_KEYS if getattr(options, name) is not None}
        self.values: dict[str, Any] = {
            name: getattr(options, name) if name in self.flags else self.source.values.get(name)
            for name in COMPARISON_KEYS
        }
        if isinstance(self.stream, Path):
            self._check_alone(self.stream)
        for text in overrides:
            key = re.split(r"[.=\[]", text)[0]
            flag = {"strategy": "strategies", "seed": "seeds"}.get(key, key)
            if flag in COMPARISON_KEYS:
                raise ConfigError(
                    f"override {text!r}: {flag} are what is compared. Use --{flag}."
                    if flag != key
                    else f"override {text!r}: it is no key of the stream. Use --{flag}."
                )

    def plan(self) -> Plan:
        self.entries = self.strategies()
        first = self.load(0, [])
        seeds = self.seeds(first.seed)
        names = _stage_names(first)
        orders = self.orders(first, names)
        labels = [entry.label for entry in self.entries]
        configs = [
            [self.load(place, [f"seed={seed}"]) for seed in seeds] for place in range(len(labels))
        ]
        self.check_different(labels, [config for config, *_ in configs])
        runs = []
        for label, of_seeds in zip(labels, configs, strict=True):
            for seed, config in zip(seeds, of_seeds, strict=True):
                for order in orders:
                    permuted = dataclasses.replace(
                        config, stream=tuple(config.stream[index] for index in order)
                    )
                    stages = tuple(names[index] for index in order)
                    runs.append(PlannedRun(label, stages, seed, permuted))
        _check_adapters([run.config for run in runs])
        runs.sort(key=lambda run: seeds.index(run.seed))  # whole comparisons first, seed by seed
        twice = [name for name, n in Counter(run.directory for run in runs).items() if n > 1]
        if twice:
            raise ConfigError(f"two runs would have the directory {twice[0]}: give them labels.")
        return Plan(
            strategies=labels,
            orders=[tuple(names[index] for index in order) for order in orders],
            seeds=seeds,
            baseline=self.baseline(labels),
            jobs=self.whole("jobs", 1, 1 if self.values["jobs"] is None else self.values["jobs"]),
            runs=runs,
            differs=set().union(*(entry.differs for entry in self.entries)),
        )

    def fail(self, name: str, what: str, *below: int) -> NoReturn:
        """Return a complaint about one of `COMPARISON_KEYS`, wherever it was written."""
        if name in self.flags:
            raise ConfigError(f"--{name}: {what}")
        raise ConfigError(what, key=(name, *below))

    def load(self, strategy: int, overrides: Sequence[str]) -> RunConfig:
        """Return the stream's configuration under one of the strategies."""
        own = self.entries[strategy].overrides
        try:
            changes = [*self.overrides, *overrides, *own.values()]
            stream = self.stream
            if isinstance(stream, Source):
                stream = copy.deepcopy(stream)  # which `load` changes
            return load(stream, changes, self.plugins, without=COMPARISON_KEYS)[0]
        except ConfigError as error:
            for key, text in own.items():
                before, found, message = str(error).partition(f"override {text!r}: ")
                if found and not before:
                    where = "" if key == "strategy" else f"set: {key}: "
                    self.fail("strategies", where + message, strategy)
            raise

    def strategies(self) -> list[Entry]:
        values = self.values["strategies"]
        known = ", ".join(self.plugins.strategies)
        if values is None:
            raise ConfigError(
                f"{self.source.path or 'the stream'}: no strategies to compare. "
                f"Write --strategies, or a list under the key `strategies`. Known: {known}."
            )
        if not isinstance(values, (list, tuple)) or not values:
            self.fail("strategies", f"{show(values)} is not a list of strategies. Known: {known}.")
        entries: dict[str, Entry] = {}
        for index, value in enumerate(values):
            try:
                entry = read_entry(value)
            except ConfigError as error:
                self.fail("strategies", str(error), index)
            if entry.label in entries:
                self.fail("strategies", f"{entry.label!r} is given twice. Remove one.", index)
            entries[entry.label] = entry
        return list(entries.values())

    def check_different(self, labels: Sequence[str], configs: Sequence[RunConfig]) -> None:
        """Refuse two strategies that are one, such as `replay` and `replay` with a default."""
        known: dict[str, str] = {}
        for place, (label, config) in enumerate(zip(labels, configs, strict=True)):
            made = to_yaml(config)
            if (other := known.setdefault(made, label)) != label:
                self.fail("strategies", f"{label!r} is the same as {other!r}. Remove one.", place)

    def seeds(self, default: int) -> list[int]:
        values = self.values["seeds"]
        if values is None:
            return [default]
        if not isinstance(values, (list, tuple)) or not values:
            self.fail("seeds", f"{show(values)} is not a list of seeds. Write for example [0, 1].")
        seeds = [self.whole("seeds", 0, value, index) for index, value in enumerate(values)]
        twice = [seed for seed, count in Counter(seeds).items() if count > 1]
        if twice:
            self.fail("seeds", f"{twice[0]} is given twice. Remove one.")
        return seeds

    def orders(self, config: RunConfig, names: Sequence[str]) -> list[tuple[int, ...]]:
        """Return permutations of the stages' indices, without those that give the same stream
        twice."""
        value = self.values["orders"]
        given = tuple(range(len(names)))
        kinds = [json.dumps(plain(stage), sort_keys=True) for stage in config.stream]
        repeats = math.prod(math.factorial(count) for count in Counter(kinds).values())
        possible = math.factorial(len(names)) // repeats
        if value is None or value == "given":
            return [given]
        if isinstance(value, (list, tuple)):
            if not value:
                self.fail("orders", "the list is empty. Write `given`, or at least one order.")
            found: dict[tuple[str, ...], tuple[int, ...]] = {}
            for place, written in enumerate(value):
                order = self.order(place, written, names)
                if found.setdefault(tuple(kinds[index] for index in order), order) is not order:
                    self.fail("orders", "this order is given twice. Remove one.", place)
            return list(found.values())
        if value == "all":
            if possible > MOST_ORDERS:
                self.fail("orders", f"there are {possible:,}. Write how many to draw.")
            distinct: dict[tuple[str, ...], tuple[int, ...]] = {}
            for order in itertools.permutations(given):
                distinct.setdefault(tuple(kinds[index] for index in order), order)
            return list(distinct.values())
        if isinstance(value, str):
            self.fail(
                "orders",
                f"{value!r} is not a choice. Write given, all, or how many; lists "
                "of stages' names stand in a YAML file.",
            )
        count = min(self.whole("orders", 1, value), possible)
        rng = generator(0, "orders")
        drawn = {tuple(kinds): given}
        while len(drawn) < count:
            order = tuple(int(index) for index in rng.permutation(len(names)))
            drawn.setdefault(tuple(kinds[index] for index in order), order)
        return list(drawn.values())

    def order(self, place: int, order: object, names: Sequence[str]) -> tuple[int, ...]:
        if not isinstance(order, (list, tuple)):
            self.fail(
                "orders", f"{show(order)} is not a list of stages: {', '.join(names)}.", place
            )
        left = list(enumerate(names))
        chosen = []
        for name in order:
            found = next((item for item in left if item[1] == name), None)
            if found is None and name in names:
                self.fail("orders", f"{name!r} stands there more often than in the stream.", place)
            if found is None:
                known = nearest(name, dict.fromkeys(names))
                self.fail("orders", f"the stream has no stage {name!r}. {known}", place)
            left.remove(found)
            chosen.append(found[0])
        if left:
            self.fail("orders", f"the stage {left[0][1]!r} is missing. An order has all.", place)
        return tuple(chosen)

    def baseline(self, labels: Sequence[str]) -> str:
        value = self.values["baseline"]
        if value is None:
            return "sequential" if "sequential" in labels else labels[0]
        if value not in labels:
            self.fail("baseline", f"{value!r} is not compared. {nearest(value, labels)}")
        return str(value)

    def whole(self, name: str, least: int, value: object, *below: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(name, f"{show(value)} is not a whole number from {least}.", *below)
        return value

    def _check_alone(self, stream: Path) -> None:
        """A file that names another as its stream has the keys of a comparison and no others."""
        for name in self.source.values:
            if name not in ("stream", *COMPARISON_KEYS):
                hint = f"It belongs into {stream.name}, or on the command line as an override."
                known = nearest(name, ["stream", *COMPARISON_KEYS])
                raise ConfigError(f"unknown key. {known} {hint}", key=(name,))


def read_options(
    strategies: str | Sequence[Any] | None,
    orders: str | int | Sequence[Sequence[str]] | None,
    seeds: str | Sequence[int] | None,
    baseline: str | None,
    jobs: int | None,
) -> ComparisonOptions:
    """Return the options of the command line's options; lists are in YAML: `replay,[replay,kl]`,
    `0,1`.

    Raises:
        ConfigError: a list cannot be read.
    """
    return ComparisonOptions(
        strategies=_list("strategies", strategies),
        orders=int(orders) if isinstance(orders, str) and orders.isdecimal() else orders,
        seeds=_list("seeds", seeds),
        baseline=baseline,
        jobs=jobs,
    )


def _list(flag: str, text: str | Sequence[Any] | None) -> Sequence[Any] | None:
    if text is None:
        return None
    if not isinstance(text, Iterable):
        raise ConfigError(f"{flag} is {text!r}: give a list, such as [{text!r}].")
    if not isinstance(text, str):
        return list(text)
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--{flag} {text!r}: cannot be read. Separate the items by commas."
        ) from error
    if not values or None in values:
        raise ConfigError(f"--{flag} {text!r}: an item is empty. Separate the items by commas.")
    return list(values)


def _stage_names(config: RunConfig) -> list[str]:
    """Return the stages' names; numbered where different stages share one."""
    kinds: dict[str, list[Any]] = {}
    for stage in config.stream:
        same = kinds.setdefault(stage.name, [])
        if plain(stage) not in same:
            same.append(plain(stage))
    return [
        stage.name
        if len(kinds[stage.name]) == 1
        else f"{stage.name}#{kinds[stage.name].index(plain(stage)) + 1}"
        for stage in config.stream
    ]


def _check_adapters(configs: Sequence[RunConfig]) -> None:
    """Refuse orders in which an environment is evaluated through different adapters.

    Raises:
        ConfigError: stages have the environment in common and not the adapter.
    """
    first = configs[0]
    for config, item in itertools.product(configs, first.environments):
        one, other = (each.adapter_of(item.label) for each in (first, config))
        if plain(one) != plain(other):
            raise ConfigError(
                f"{item.label!r} is evaluated through the adapter of its first stage, which is "
                f"{one.name!r} in one order and {other.name!r} in another. Give the stages one "
                "adapter, or their environments two labels.",
                key=("orders",),
            )
