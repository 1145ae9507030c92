"""contrail from Python: the functions behind the command line, for scripts and notebooks.

    result = contrail.run("stream.yaml", seed=1)
    result = contrail.run({"stream": [Depot], "model": "tiny-random"})
    comparison = contrail.compare("stream.yaml", strategies=["sequential", "replay"], seeds=[0, 1])
    result = contrail.load("runs/stream")
    scores = contrail.evaluate(result, [Depot, "babyai"], tasks=64)

An environment, an adapter or a strategy can be given by its name or by its class. An interruption
(Ctrl-C) raises KeyboardInterrupt; the same call continues from the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from contrail.config import Source
from contrail.environment import Environment
from contrail.episode_metrics import EpisodeMetric
from contrail.errors import ConfigError
from contrail.registry import Plugins, load_plugins
from contrail.results import Comparison, Result
from contrail.runs.directory import default_directory

if TYPE_CHECKING:
    from contrail.comparison.cost import Cost
    from contrail.comparison.plan import Plan
    from contrail.runs.estimate import Estimate
    from contrail.scores import Scores

Stream = str | os.PathLike[str] | Mapping[str, Any]
Plugin = str | os.PathLike[str] | ModuleType | type | EpisodeMetric


def run(
    stream: Stream,
    *overrides: str,
    plugins: Plugins | Iterable[Plugin] = (),
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
    **values: Any,
) -> Result:
    """Run a stream to its end, or continue a run that was interrupted.

    A finished run is read, not repeated: choose another `out` to repeat it.

    Args:
        stream: a stream file, or its content as a mapping.
        overrides: keys to set, as on the command line: "grpo.learning_rate=1e-4".
        plugins: plugins in addition to those in the stream: plugin files, names of modules,
            modules, classes (of environments, adapters or strategies), and episode metrics.
        out: the run directory; by default one under runs/, the same for the same call.
        quiet: show no progress.
        values: keys to set, by name: seed=1, evaluate={"tasks": 64}.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: the run was interrupted; the same call continues it.
    """
    from contrail.runs.launch import run_stream

    source, texts, loaded = stream_of(stream, overrides, plugins, values)
    directory = Path(out) if out is not None else _directory(source, texts)
    files = run_stream(source, texts, plugins=loaded, out=directory, quiet=quiet)
    return Result.read(files.path, loaded)


def estimate(
    stream: Stream,
    *overrides: str,
    plugins: Plugins | Iterable[Plugin] = (),
    quiet: bool = False,
    **values: Any,
) -> Estimate:
    """Return what a run of a stream would cost, from a few measured steps; nothing is written.

    Args:
        stream: a stream file, or its content as a mapping.
        overrides: keys to set, as on the command line.
        plugins: as for `run`.
        quiet: show no progress.
        values: keys to set, by name.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: it was interrupted.
    """
    from contrail.runs.launch import estimate_stream

    source, texts, loaded = stream_of(stream, overrides, plugins, values)
    return estimate_stream(source, texts, plugins=loaded, quiet=quiet)


def compare(
    what: Stream | Sequence[str | os.PathLike[str] | Result],
    *overrides: str,
    strategies: str | Sequence[Any] | None = None,
    orders: str | int | Sequence[Sequence[str]] | None = None,
    seeds: str | Sequence[int] | None = None,
    baseline: str | None = None,
    jobs: int | None = None,
    plugins: Plugins | Iterable[Plugin] = (),
    out: str | os.PathLike[str] | None = None,
    share: bool = True,
    quiet: bool = False,
    **values: Any,
) -> Comparison:
    """Run a stream under several strategies, orders and seeds; or compare finished runs.

    The same call continues a comparison that was interrupted.

    Args:
        what: a stream file, a comparison's file, or the content of either; or finished runs.
        overrides: keys to set, as on the command line.
        strategies: for example ["sequential", {"name": "replay", "fraction": 0.5}]; a list inside
            the list combines its strategies. Or a text as on the command line.
        orders: of the stages: "given", "all", a number of orders, or lists of the stages' names.
        seeds: for example [0, 1, 2]; by default the stream's own.
        baseline: the strategy to compare the others with; by default sequential, or the first.
        jobs: the number of processes; by default 1.
        plugins: as for `run`. Runs are made in processes of their own, so classes must be
            registered by a plugin file or a module.
        out: the comparison's directory; by default one under runs/, the same for the same call.
        share: compute the common beginnings of runs only once.
        quiet: show no progress.
        values: keys to set, by name.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: it was interrupted; the same call continues it.
    """
    from contrail.comparison.launch import compare_runs, compare_stream
    from contrail.comparison.plan import read_options

    given = _Given(plugins)
    options = read_options(
        strategies if isinstance(strategies, str) or strategies is None else list(strategies),
        orders,
        seeds if isinstance(seeds, str) or seeds is None else list(seeds),
        baseline,
        jobs,
    )
    if not isinstance(what, (str, os.PathLike, Mapping)):
        runs = [item.directory if isinstance(item, Result) else Path(item) for item in what]
        outcome = compare_runs(runs, options, out=None if out is None else Path(out))
        return Comparison(outcome.directory, outcome.comparison, given.plugins)
    texts = [*overrides, *given.overrides(values)]
    source = given.source(what)
    given.refuse_local("compare")
    if out is None:
        directory = _directory(source, texts)
        directory = directory.with_name(f"{directory.name}_compare")
    outcome = compare_stream(
        source,
        texts,
        options,
        given.plugins,
        out=directory if out is None else Path(out),
        sharing=share,
        say=lambda text: None if quiet else print(text, file=sys.stderr, flush=True),
    )
    return Comparison(outcome.directory, outcome.comparison, given.plugins)


def estimate_comparison(
    what: Stream,
    *overrides: str,
    strategies: str | Sequence[Any] | None = None,
    orders: str | int | Sequence[Sequence[str]] | None = None,
    seeds: str | Sequence[int] | None = None,
    baseline: str | None = None,
    jobs: int | None = None,
    plugins: Plugins | Iterable[Plugin] = (),
    share: bool = True,
    quiet: bool = False,
    **values: Any,
) -> tuple[Plan, list[Cost]]:
    """Return the plan of a comparison and what its runs would cost, by strategy; nothing is
    written.

    The arguments are those of `compare`.
    """
    from contrail.comparison.launch import estimate_comparison as launch
    from contrail.comparison.plan import read_options

    given = _Given(plugins)
    options = read_options(
        strategies if isinstance(strategies, str) or strategies is None else list(strategies),
        orders,
        seeds if isinstance(seeds, str) or seeds is None else list(seeds),
        baseline,
        jobs,
    )
    texts = [*overrides, *given.overrides(values)]
    return launch(
        given.source(what),
        texts,
        options,
        given.plugins,
        sharing=share,
        say=lambda text: None if quiet else print(text, file=sys.stderr, flush=True),
    )


def load(directory: str | os.PathLike[str], *, plugins: Plugins | Iterable[Plugin] = ()) -> Result:
    """Return the result of a finished run.

    Args:
        directory: of the run.
        plugins: as for `run`; needed to evaluate the policy of a run of your own classes.

    Raises:
        ContrailError: there is no run, or it has not ended.
    """
    return Result.read(directory, _Given(plugins).plugins)


def evaluate(
    policy: str | os.PathLike[str] | Result,
    environments: str | type[Environment] | Iterable[str | type[Environment]],
    *,
    plugins: Plugins | Iterable[Plugin] = (),
    adapter: str | None = None,
    tasks: int | None = None,
    samples: int | None = None,
    greedy: bool | None = None,
    threads: int = 1,
    quiet: bool = False,
) -> dict[str, Scores]:
    """Evaluate a policy on the test tasks of environments, without training.

    Args:
        policy: a run, its directory, a checkpoint, a PEFT directory, or a model.
        environments: columns of that run, or other environments, with their default settings.
        plugins: as for `run`.
        adapter: the adapter; by default the run's, or `choose`.
        tasks: the largest number of test tasks per environment; by default as in the run, or 32.
        samples: the number of episodes per task; by default as in the run, or 1.
        greedy: take the likeliest choice or token; by default as in the run, or False.
        threads: the number of threads of torch.
        quiet: show no progress.

    Returns:
        The scores, by environment.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
    """
    from contrail.compat.loading import load_libraries

    load_libraries(quiet=quiet)
    from contrail.runs.evaluate_policy import evaluate_policy

    own = policy._plugins if isinstance(policy, Result) and not plugins else plugins
    given = _Given(own)
    single = isinstance(environments, (str, type))
    named = given.named([environments] if single else list(environments))  # type: ignore[arg-type]
    return evaluate_policy(
        str(policy.directory if isinstance(policy, Result) else policy),
        named,
        given.plugins,
        adapter=adapter,
        tasks=tasks,
        samples=samples,
        greedy=greedy,
        threads=threads,
        quiet=quiet,
    )


def stream_of(
    stream: Stream,
    overrides: Iterable[str],
    plugins: Plugins | Iterable[Plugin],
    values: Mapping[str, Any],
) -> tuple[Source, list[str], Plugins]:
    """What `contrail.config.load` takes, made of the arguments of `run`."""
    given = _Given(plugins)
    texts = [*overrides, *given.overrides(values)]
    return given.source(stream), texts, given.plugins


class _Given:
    """The plugins and classes of a call."""

    def __init__(self, plugins: Plugins | Iterable[Plugin]) -> None:
        self._written: list[str] = []  # what a stream file could name
        self._local: list[str] = []  # what it could not
        if isinstance(plugins, Plugins):
            self.plugins = plugins
            return
        self.plugins = load_plugins()
        for item in [plugins] if isinstance(plugins, (str, Path)) else plugins:
            self._add(item)

    def _add(self, item: Plugin) -> None:
        if isinstance(item, (str, os.PathLike)):
            name = os.fspath(item)
            if name.endswith(".py") or os.sep in name:
                name = str(Path(name).expanduser().resolve())
            self.plugins.add_named(name, Path.cwd())
            self._written.append(name)
        elif isinstance(item, ModuleType):
            place = getattr(item, "__file__", None)
            self.plugins.add(item, item.__name__, "-", place or item.__name__)
            if item.__name__ == "__main__" or place is None:
                self._local.append(item.__name__)
            else:
                self._written.append(item.__name__)
        elif isinstance(item, EpisodeMetric):
            self.plugins.register_metric(_module(item.value), item)
            self._local.append(item.name)
        else:
            self._local.append(self.plugins.add_class(item))

    def named(self, value: Any) -> Any:
        """Return the value with registered names in place of classes."""
        if isinstance(value, type):
            known = self.plugins.name_of(value)
            if known is None:
                known = self.plugins.add_class(value)
                self._local.append(known)
            return known
        if isinstance(value, Mapping):
            return {key: self.named(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.named(item) for item in value]
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    def source(self, stream: Stream) -> Source:
        """Return the stream, with the plugins of the call beside its own."""
        values = isinstance(stream, Mapping)
        source = Source(self.named(stream) if values else Path(stream))  # type: ignore[arg-type]
        own = source.values.get("plugins", [])
        if isinstance(own, list) and self._written:
            source.values["plugins"] = [*own, *(n for n in self._written if n not in own)]
        return source

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Keyword arguments as `key=value`, the way they would be written on the command line."""
        return [f"{key}={_text(self.named(value))}" for key, value in values.items()]

    def refuse_local(self, what: str) -> None:
        """Refuse classes and metrics that another process could not load.

        Raises:
            ConfigError: a class or metric was given that no plugin file or module registers.
        """
        if self._local:
            raise ConfigError(
                f"contrail.{what} makes its runs in processes of their own, which cannot load "
                f"{self._local[0]!r}. Register it in a plugin file (docs/plugins.md), and give its "
                "path in `plugins`."
            )


def _text(value: Any) -> str:
    """Return a plain value as YAML on one line; simple words without quotes."""
    import yaml

    if isinstance(value, str):
        try:
            simple = yaml.safe_load(f"[{value}]") == [value]
        except yaml.YAMLError:
            simple = False
        if simple:
            return value
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ConfigError(f"{value!r} cannot stand in a stream: {error}.") from error


def _directory(source: Source, overrides: Sequence[str]) -> Path:
    """Return the default run directory: the same for the same call."""
    if source.path is not None:
        return default_directory(source.path, overrides)
    content = json.dumps(source.values, sort_keys=True, default=str)
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return default_directory(Path(f"stream-{digest}"), overrides)


def _module(function: Any) -> str:
    return str(getattr(function, "__module__", None) or "__main__")
