"""The study's file, and the configuration of every run of its experiments."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contrail.comparison.plan import PlannedRun, run_directory
from contrail.config import STUDY_KEYS, RunConfig, Source, load, show
from contrail.errors import ConfigError, Key, nearest
from contrail.registry.plugins import Plugins
from contrail.runs.directory import RunDirectory
from contrail.stream.listing import listed
from contrail.studies import design
from contrail.studies.design import (
    EASY,
    EXPERIMENTS,
    HARD,
    SEQUENTIAL,
    Subject,
    runs_of,
    shifted,
)
from contrail.studies.strategies import check_sequences, read_strategies
from contrail.tasks.selection import test_tasks

SIZES = ("smoke", "laptop", "paper")
NOT_KEYS = {
    "stream": "Write the environments under `environments`.",
    "strategy": "Write `strategies: [sequential]`.",
    "seed": "Write `seeds: [0, 1, 2]`.",
}
LISTS = {"environments": "[babyai, textcraft]", "interfaces": "[{alias: 1}]"}
WARM = (SEQUENTIAL, ("warmup",))
ALL = "all"
RUNS = "runs"
"""Where the runs lie, in a study's directory."""


@dataclass(frozen=True)
class StudyPlan:
    """All runs of some experiments."""

    name: str
    experiments: Sequence[str]
    subject: Subject
    seeds: Sequence[int]
    jobs: int
    warm: Sequence[PlannedRun]
    """The runs whose policies all others begin with, one per seed; none without a warm-up."""
    runs: Mapping[design.Key, Mapping[int, PlannedRun]]
    whole: PlannedRun
    """A run over all environments, from which costs are estimated; it need not be made."""
    checking: Sequence[str]
    """The environments whose actions say when an agent is done, and when it checks."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Experiments without runs, and why."""


def size_file(size: str) -> Path:
    """Return the study's file of a size.

    Raises:
        ConfigError: there is no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"--size: there is no size {size!r}. {nearest(size, SIZES)}")
    return Path(__file__).with_name(f"{size}.yaml")


def read_study(
    experiment: str,
    source: Source,
    overrides: Sequence[str],
    plugins: Plugins,
    *,
    seeds: Sequence[int] | None,
    jobs: int | None,
    out: Path,
) -> StudyPlan:
    """Plan the runs of an experiment, or of all.

    Args:
        experiment: one of `EXPERIMENTS`, or "all".
        source: the study's file.
        overrides: `key=value` each.
        plugins: the loaded ones.
        seeds: instead of the file's.
        jobs: instead of the file's.
        out: the study's directory.

    Raises:
        ConfigError: the file or an override asks for something impossible.
    """
    if experiment not in (*EXPERIMENTS, ALL):
        known = nearest(experiment, [*EXPERIMENTS, ALL])
        if isinstance(experiment, str) and Path(experiment).is_file():
            known = f"Write one before the file, as in `contrail study {ALL} {experiment}`. {known}"
        raise ConfigError(f"there is no experiment {experiment!r}. {known}")
    chosen = EXPERIMENTS if experiment == ALL else (experiment,)
    with source.located():
        source.override(overrides)
        source.resolve()
        return _Planner(source, plugins, out).plan(experiment, chosen, seeds, jobs)


class _Planner:
    def __init__(self, source: Source, plugins: Plugins, out: Path) -> None:
        self._source = source
        self._plugins = plugins
        self._out = out
        values = source.values
        for name, hint in NOT_KEYS.items():
            if name in values:
                raise ConfigError(f"a study has no key {name!r}. {hint}", key=(name,))
        evaluate = values.get("evaluate")
        if isinstance(evaluate, dict) and "environments" in evaluate:
            raise ConfigError(
                "a study evaluates its own environments. Add them to `environments`.",
                key=("evaluate", "environments"),
            )
        self._base = {name: value for name, value in values.items() if name not in STUDY_KEYS}
        self._stages = self._list("environments")
        self._interfaces = self._list("interfaces", least=0)
        self._updates = self._whole("updates", values.get("updates", 40), 1)
        self._columns: dict[
            str, dict[str, Any]
        ] = {}  # of the shifted interfaces, once they are known

    def plan(
        self,
        name: str,
        experiments: Sequence[str],
        seeds: Sequence[int] | None,
        jobs: int | None,
    ) -> StudyPlan:
        if seeds is not None and len(set(seeds)) < len(seeds):
            raise ConfigError("--seeds: a seed stands there twice. Remove one.")
        chosen = list(self._seeds() if seeds is None else seeds)
        strategies = read_strategies(self._source.values.get("strategies", [SEQUENTIAL]))
        with self._translated():
            first = self._config(SEQUENTIAL, [{"environment": item} for item in self._plain()], 0)
            labels = [stage.environment.label for stage in first.stream]
            twice = [label for label, count in Counter(labels).items() if count > 1]
            if twice:
                raise ConfigError(
                    f"{twice[0]!r} stands there twice. Remove one, or give it a `label`.",
                    key=("stream", labels.index(twice[0])),
                )
            interfaces = [_interface_name(item) for item in self._interfaces]
            self._columns = self._shifted_columns(labels, interfaces)
            first = self._config(SEQUENTIAL, [{"environment": item} for item in self._plain()], 0)
        self._labels = labels
        with self._translated():
            halves = self._halves(first) if "within" in experiments else {}
        orders = self._whole("orders", self._source.values.get("orders", design.MOST_ORDERS), 1)
        subject = Subject(labels, list(strategies), interfaces, orders, halves)
        left_out = {
            experiment: "no environment has tasks of several difficulties (see `contrail split`)"
            for experiment in experiments
            if experiment == "within" and not halves
        }
        if "interface" in experiments and not interfaces:
            left_out["interface"] = "the file names no `interfaces`"
        left = [experiment for experiment in experiments if experiment not in left_out]
        if not left:
            raise ConfigError(f"{experiments[0]}: {left_out[experiments[0]]}.")
        warm = self._warm(chosen)
        keys = dict.fromkeys(key for experiment in left for key in runs_of(experiment, subject))
        runs = {key: self._runs(key, strategies, subject, chosen) for key in keys}
        self._check_strategies(strategies, runs)
        whole = self._runs((SEQUENTIAL, tuple(labels)), strategies, subject, chosen[:1])
        planned = [run.directory for of_seeds in runs.values() for run in of_seeds.values()]
        same = [item for item, count in Counter(planned).items() if count > 1]
        if same:
            raise ConfigError(f"two runs would have the directory {same[0]}: give them labels.")
        return StudyPlan(
            name=name,
            experiments=left,
            subject=subject,
            seeds=chosen,
            jobs=self._whole("jobs", jobs or self._source.values.get("jobs", 1), 1),
            warm=warm,
            runs=runs,
            whole=whole[chosen[0]],
            checking=[
                stage.environment.label
                for stage in first.stream
                if self._says_when(stage.environment.name)
            ],
            left_out=left_out,
        )

    def _says_when(self, environment: str) -> bool:
        """Return whether actions say when an agent is done, and when it checks."""
        cls = self._plugins.environments[environment].value
        return bool(cls.finishing and cls.verifying)

    # Runs

    def _runs(
        self, key: design.Key, strategies: Mapping[str, Any], subject: Subject, seeds: Sequence[int]
    ) -> dict[int, PlannedRun]:
        strategy, names = key
        written = strategies.get(strategy, strategy)
        stages = [self._stage(name, subject) for name in names]
        return {
            seed: PlannedRun(strategy, names, seed, self._config(written, stages, seed))
            for seed in seeds
        }

    def _stage(self, name: str, subject: Subject) -> dict[str, Any]:
        """Return a stage as in a stream file."""
        for place, label in enumerate(self._labels):
            stage = copy.deepcopy(self._stages[place])
            stage = dict(stage) if _is_stage(stage) else {"environment": stage}
            stage.setdefault("updates", self._updates)
            if name == label:
                return stage
            for which, difficulties in (subject.halves or {}).get(label, {}).items():
                if name == f"{label}.{which}":
                    train = {**(stage.get("train") or {}), "difficulty": list(difficulties)}
                    return {**stage, "name": name, "train": train}
            for interface in subject.interfaces:
                if name == shifted(label, interface):
                    return {**stage, "environment": self._columns[name]}
        raise AssertionError(name)

    def _config(self, strategy: Any, stages: Sequence[Any], seed: int) -> RunConfig:
        values = copy.deepcopy(self._base)
        warm = self._source.values.get("warmup")
        if warm is not None:
            model = self._out / RUNS / run_directory(*WARM, seed)
            if RunDirectory(model).result.is_file():
                values["model"] = str(model)
                values.pop("lora", None)
        values |= {"stream": list(stages), "strategy": strategy, "seed": seed}
        evaluate = values.setdefault("evaluate", {})
        if isinstance(evaluate, dict):
            evaluate["environments"] = [*self._plain(), *self._columns.values()]
        return self._load(values)

    def _load(self, values: Mapping[str, Any]) -> RunConfig:
        made = Source(values)
        made.directory = self._source.directory
        return load(made, (), self._plugins)[0]

    def _warm(self, seeds: Sequence[int]) -> list[PlannedRun]:
        warm = self._source.values.get("warmup")
        if warm is None:
            return []
        runs = []
        for seed in seeds:
            values = copy.deepcopy(self._base)
            stages = [
                {**(item if _is_stage(item) else {"environment": item}), "updates": 0}
                for item in copy.deepcopy(self._stages)
            ]
            values |= {"warmup": warm, "stream": stages, "strategy": SEQUENTIAL, "seed": seed}
            runs.append(PlannedRun(*WARM, seed, self._load(values)))
        return runs

    # What is written

    def _plain(self) -> list[Any]:
        """Return the environments as they are written."""
        return [item["environment"] if _is_stage(item) else item for item in self._stages]

    def _shifted_columns(
        self, labels: Sequence[str], interfaces: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        columns = {}
        for label, item in zip(labels, self._plain(), strict=True):
            written = {"name": item} if isinstance(item, str) else dict(item)
            for name, shift in zip(interfaces, self._interfaces, strict=True):
                column = shifted(label, name)
                columns[column] = {**written, "label": column, "shift": shift}
        return columns

    def _check_strategies(
        self, strategies: Mapping[str, Any], runs: Mapping[design.Key, Mapping[int, PlannedRun]]
    ) -> None:
        """Refuse strategies that do not learn the sequences of the study stage by stage."""
        for index, label in enumerate(strategies):
            of = [next(iter(seeds.values())) for key, seeds in runs.items() if key[0] == label]
            if not of or label == SEQUENTIAL:
                continue
            try:
                check_sequences(of, self._plugins)
            except ConfigError as error:
                raise ConfigError(
                    str(error), key=("strategies", index), of_children=True
                ) from error

    def _halves(self, config: RunConfig) -> dict[str, dict[str, list[str | int]]]:
        """Return the easy and the hard difficulties of the environments that have both, in training
        and in test."""
        found: dict[str, dict[str, list[str | int]]] = {}
        with listed(config, self._plugins) as listing:
            for stage in config.stream:
                label = stage.environment.label
                tests = test_tasks(listing.tasks[label]["test"], config.evaluate.tasks)
                known = {task.difficulty for task in listing.tasks[label]["train"]}
                known &= {task.difficulty for task in tests}
                ordered = design.ordered(known - {None})
                if len(ordered) > 1:
                    middle = len(ordered) // 2
                    found[label] = {EASY: ordered[:middle], HARD: ordered[middle:]}
        return found

    def _list(self, name: str, least: int = 1) -> list[Any]:
        values = self._source.values.get(name, [] if least == 0 else None)
        if not isinstance(values, list) or len(values) < least:
            wrong = "which is empty" if values == [] else "which is not a list"
            written = "missing" if values is None else f"{show(values)}, {wrong}"
            raise ConfigError(
                f"`{name}` is {written}. Write for example `{name}: {LISTS[name]}`.",
                key=(name,) if name in self._source.values else (),
            )
        return values

    def _seeds(self) -> list[int]:
        values = self._source.values.get("seeds", [0])
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"{show(values)} is not a list of seeds. Write for example [0, 1, 2].",
                key=("seeds",),
            )
        found = [self._whole("seeds", value, 0, index) for index, value in enumerate(values)]
        if len(set(found)) < len(found):
            raise ConfigError("a seed stands there twice. Remove one.", key=("seeds",))
        return found

    def _whole(self, name: str, value: object, least: int, *below: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(
                f"{show(value)} is not a whole number from {least}.", key=(name, *below)
            )
        return value

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Context manager: an error about the stream of a run is about the study's environments."""
        try:
            yield
        except ConfigError as error:
            error.key = self._translate(error.key or ())
            error.place = None  # that of the run's own stream, which has no file
            raise

    def _translate(self, key: Key) -> Key:
        """Return the key of the study's file at which a key of a run's stream is written."""
        if key[:1] == ("stream",):
            rest = key[2:]
            wrapped = len(key) > 1 and _is_stage(self._stages[int(key[1])])
            if not wrapped and rest[:1] == ("environment",):
                rest = rest[1:]
            return ("environments", *key[1:2], *rest)
        if key[:2] == ("evaluate", "environments") and len(key) > 2:
            place = int(key[2]) - len(self._stages)
            if place < 0:
                return ("environments", *key[2:])
            return ("interfaces", place % len(self._interfaces), *key[4:])
        return key


def _is_stage(item: Any) -> bool:
    """Return whether an entry of `environments` has the keys of a stage around it."""
    return isinstance(item, dict) and "environment" in item


def _interface_name(shift: Any) -> str:
    """Return the name of an interface shift, such as "alias=1"."""
    if not isinstance(shift, dict) or not shift:
        raise ConfigError(
            f"{show(shift)} is not a mapping. Write for example `interfaces: [{{alias: 1}}]`.",
            key=("interfaces",),
        )
    return "+".join(f"{name}={value}" for name, value in shift.items())
