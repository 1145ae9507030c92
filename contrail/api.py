"""contrail from Python: the functions behind the command line, for scripts and notebooks.

    result = contrail.run("stream.yaml", seed=1)
    result = contrail.run({"stream": [Depot], "model": "tiny-random"})
    comparison = contrail.compare("stream.yaml", strategies=["sequential", "replay"], seeds=[0, 1])
    result = contrail.load("runs/stream")
    scores = contrail.evaluate(result, [Depot, "babyai"], tasks=64)

An environment, an adapter, a strategy or an objective can be given by its name or by its class. An
interruption (Ctrl-C) raises KeyboardInterrupt; the same call continues from the last checkpoint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrail.config import Source, find_model
from contrail.environment import Environment
from contrail.errors import ConfigError
from contrail.given import Given, Plugin, Stream, directory_of, path_of, positive
from contrail.registry.plugins import Plugins
from contrail.results import Comparison, Result, Study

if TYPE_CHECKING:
    from contrail.comparison.cost import Cost
    from contrail.comparison.plan import Plan
    from contrail.metrics.scores import Scores
    from contrail.runs.estimate import Estimate


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
            modules, classes (of environments, adapters, strategies or objectives), and episode
            metrics.
        out: the run directory; by default one under runs/, the same for the same call.
        quiet: show no progress.
        values: keys to set, by name: seed=1, evaluate={"tasks": 64}.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: the run was interrupted; the same call continues it.
    """
    from contrail.runs.launch import run_stream

    source, texts, loaded = stream_of(stream, overrides, plugins, values)
    directory = path_of("out", out) if out is not None else directory_of(source, texts)
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

    given = Given(plugins)
    options = read_options(
        given.named(strategies),
        given.named(orders),
        given.named(seeds),
        baseline,
        given.named(jobs),
    )
    if not isinstance(what, (str, os.PathLike, Mapping)):
        if texts := given.overrides(overrides, values):
            raise ConfigError(
                f"{texts[0].partition('=')[0]}: these are finished runs. Give a stream to run more."
            )
        if not what:
            raise ConfigError("there is nothing to compare: give two finished runs or more.")
        runs = [
            item.directory if isinstance(item, Result) else path_of("run", item) for item in what
        ]
        outcome = compare_runs(runs, options, out=None if out is None else path_of("out", out))
        return Comparison(outcome.directory, outcome.comparison, given.plugins)
    texts = given.overrides(overrides, values)
    source = given.source(what)
    given.refuse_local("compare")
    if out is None:
        directory = directory_of(source, texts)
        directory = directory.with_name(f"{directory.name}_compare")
    outcome = compare_stream(
        source,
        texts,
        options,
        given.plugins,
        out=directory if out is None else path_of("out", out),
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

    given = Given(plugins)
    options = read_options(
        given.named(strategies),
        given.named(orders),
        given.named(seeds),
        baseline,
        given.named(jobs),
    )
    texts = given.overrides(overrides, values)
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
    return Result.read(path_of("directory", directory), Given(plugins).plugins)


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
    from contrail.runs.interrupt import ending_at_once

    threads = positive("threads", threads)
    tasks = None if tasks is None else positive("tasks", tasks)
    samples = None if samples is None else positive("samples", samples)
    if not isinstance(greedy, bool | None):
        raise ConfigError(f"greedy is {greedy!r}: give True or False.")
    if not isinstance(environments, (str, type, Iterable)):
        raise ConfigError(f"environments is {environments!r}: give a name, or a list of names.")
    given = Given(plugins, policy._plugins if isinstance(policy, Result) else None)
    if not isinstance(policy, Result):  # before the libraries are loaded, which takes seconds
        find_model(str(policy), Path.cwd(), given.plugins.models, key=None)
    with ending_at_once("interrupted before the evaluation began"):
        load_libraries(quiet=quiet)
        from contrail.runs.evaluate_policy import evaluate_policy

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


def split(
    stream: Stream,
    *overrides: str,
    out: str | os.PathLike[str],
    samples: int = 8,
    tasks: int = 128,
    threshold: float = 0.5,
    plugins: Plugins | Iterable[Plugin] = (),
    quiet: bool = False,
    **values: Any,
) -> dict[str, Any]:
    """Split the tasks of a stream's environments into easy and hard, by a policy's own pass rate.

    The same call goes on with a split that was interrupted.

    Args:
        stream: a stream file, or its content as a mapping. The policy is its model, which may be a
            run; of its stages only the environments and adapters matter.
        overrides: keys to set, as on the command line.
        out: the file to write. The key `pass_rates` of an environment names it.
        samples: the number of episodes of each task.
        tasks: the largest number of training tasks per environment; of test tasks there are
            `evaluate.tasks`.
        threshold: the least pass rate of an easy task.
        plugins: as for `run`.
        quiet: show no progress.
        values: keys to set, by name.

    Returns:
        The content of the file: `environments`, each with its `pass_rates` by split and task id.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: it was interrupted; the same call continues it.
    """
    from contrail.runs.split import SplitOptions, split_stream

    source, texts, loaded = stream_of(stream, overrides, plugins, values)
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold!r}: a pass rate is from 0 to 1.")
    options = SplitOptions(positive("samples", samples), positive("tasks", tasks), threshold)
    return split_stream(source, texts, options, loaded, out=path_of("out", out), quiet=quiet)


def study(
    experiment: str,
    what: Stream | None = None,
    *overrides: str,
    size: str | None = None,
    seeds: str | Sequence[int] | None = None,
    jobs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    plugins: Plugins | Iterable[Plugin] = (),
    quiet: bool = False,
    **values: Any,
) -> Study:
    """Ask the questions of the study (docs/study.md): matrices, and a verdict on each claim.

    The same call goes on with a study that was interrupted. Experiments of one directory share
    their runs.

    Args:
        experiment: within, transfer, sequence, mixture, interface, or all.
        what: a study's file, or its content as a mapping; None for one of the sizes.
        overrides: keys to set, as on the command line.
        size: smoke (the default), laptop or paper, where no file is given.
        seeds: for example [0, 1, 2]; by default the file's.
        jobs: the number of processes; by default the file's, or 1.
        out: the study's directory; by default one under runs/, the same for the same call.
        plugins: as for `compare`.
        quiet: show no progress.
        values: keys to set, by name.

    Raises:
        ContrailError: the message says what is wrong and how to correct it.
        KeyboardInterrupt: it was interrupted; the same call continues it.
    """
    from contrail.comparison.plan import read_options
    from contrail.studies.launch import StudyOptions, carry_out

    given = Given(plugins)
    texts = given.overrides(overrides, values)
    source = None if what is None else given.source(what)
    given.refuse_local("study")
    if out is None and source is not None and source.path is None:
        out = directory_of(source, texts)
    options = read_options(None, None, given.named(seeds), None, given.named(jobs))
    outcome = carry_out(
        experiment,
        source,
        texts,
        StudyOptions(size, options.seeds, options.jobs),
        given.plugins,
        out=None if out is None else path_of("out", out),
        say=lambda text: None if quiet else print(text, file=sys.stderr, flush=True),
    )
    return Study(outcome.directory, outcome.study, outcome.failed, given.plugins)


def stream_of(
    stream: Stream,
    overrides: Iterable[str],
    plugins: Plugins | Iterable[Plugin],
    values: Mapping[str, Any],
) -> tuple[Source, list[str], Plugins]:
    """What `contrail.config.load` takes, made of the arguments of `run`."""
    given = Given(plugins)
    texts = given.overrides(overrides, values)
    return given.source(stream), texts, given.plugins
