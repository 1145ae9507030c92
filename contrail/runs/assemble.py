"""A run of a stream, and the evaluation of a policy: everything is made here and put together."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from contrail.baselines.stream import of_run
from contrail.config import (
    RunConfig,
    grpo_config,
    lora_config,
    plain,
    task_source,
    to_yaml,
)
from contrail.errors import ConfigError, ContrailError
from contrail.model.tools import check_tools
from contrail.progress.live import Live
from contrail.progress.reporter import Reporter
from contrail.registry.observers import Observers
from contrail.registry.plugins import Plugins
from contrail.rollout.watchdog import OnWait, telling
from contrail.runs.begun import begun_from, kept
from contrail.runs.checkpoints import Checkpoints
from contrail.runs.composition import compose
from contrail.runs.curves import Curves
from contrail.runs.directory import DamagedError, RunDirectory, read_checkpoint
from contrail.runs.drift import Drift
from contrail.runs.estimate import Clocks, Estimate, Known, short
from contrail.runs.interrupt import Interruption
from contrail.runs.loop import Loop
from contrail.runs.measure import DRY_RUN, LONG, START, Measurement, TooLong, counted
from contrail.runs.objectives import begin_objectives
from contrail.runs.policies import make_policy, with_dtype_of
from contrail.runs.position import Position, work
from contrail.runs.prepared import Prepared
from contrail.runs.remarks import remarks
from contrail.runs.rollouts import Rollouts
from contrail.runs.rows import Rows
from contrail.runs.run import Run
from contrail.runs.sources import begun_with, edited, merged, source_files
from contrail.stage import Stage
from contrail.stream.listing import Listing
from contrail.stream.scenario import check_replayed, make_scenario
from contrail.tasks.split import as_json, read_rates
from contrail.training.learner import Learner


@contextmanager
def prepared(
    config: RunConfig,
    plugins: Plugins,
    listing: Listing,
    start: Path | None = None,
    warm: Path | None = None,
) -> Iterator[Prepared]:
    """Make all that a run needs, and check everything that can be; nothing is written.

    Args:
        config: the run's.
        plugins: the loaded ones.
        listing: of the environments' tasks.
        start: the run's own checkpoint before any training, if it has one.
        warm: the run's own checkpoint after its warm-up, if it has one.

    Raises:
        ContrailError: something the user can put right.
    """
    # TRL's trainer makes the directory it is given, though it has nothing to write. It goes as soon
    # as the trainer is there: a run that is killed could not remove it.
    with tempfile.TemporaryDirectory(prefix="contrail-") as scratch:
        grpo = grpo_config(config, Path(scratch))
        lora_config(config)  # refuses bad keys before a model is fetched
        scenario = make_scenario(config, plugins, listing)
        strategy = compose(config, plugins)
        if strategy.replays:
            check_replayed(config, scenario, plugins)
        try:
            stages = strategy.stages(scenario.train)
        except ConfigError as error:
            raise ConfigError(str(error), key=("strategy",), of_children=True) from error
        begun = begun_from(config, plugins, scenario) if start is None else None
        policy = make_policy(config, plugins, start)
        if warm is not None:
            policy.restore(warm)
            policy.begin_here()
        for stage in (*scenario.train, *scenario.test):
            for adapter in stage.adapters.values():
                try:
                    check_tools(policy.chat, adapter)
                except ContrailError as error:
                    raise ConfigError(str(error), key=("adapter",), of_children=True) from error
        try:
            learner = Learner(policy, grpo)
        except (ValueError, TypeError, ImportError) as error:
            text = f"trl refuses it: {' '.join(str(error).split())}"
            raise ConfigError(text, key=("grpo",), of_children=True) from error
    try:
        strategy.begin(learner, stages)
    except ConfigError as error:
        raise ConfigError(str(error), key=("strategy",), of_children=True) from error
    if scenario.warmup is not None:
        stages = [scenario.warmup, *stages]
    notes = begin_objectives(config, scenario, stages, learner, strategy)
    yield Prepared(scenario, stages, policy, learner, strategy, begun, notes)


def _without_effect(config: RunConfig, stages: Sequence[Stage]) -> list[str]:
    """Return a note on the settings of rewards and advantages, if no stage learns from these."""
    if any(stage.objective is None or stage.objective.has_advantages for stage in stages):
        return []
    set_ = {
        "grpo.beta": config.grpo.beta,
        "grpo.entropy_coef": config.grpo.entropy_coef,
        "answers.invalid_penalty": config.answers.invalid_penalty,
        "answers.cut_off_penalty": config.answers.cut_off_penalty,
    }
    names = [name for name, value in set_.items() if value]
    if not names:
        return []
    return [f"{', '.join(names)}: without effect, because no stage learns from rewards"]


def _split_otherwise(config: RunConfig) -> list[str]:
    """Return a note on each environment whose easy and hard tasks are of another adapter."""
    notes = []
    for item in config.environments:
        if item.pass_rates is None:
            continue
        through = read_rates(Path(item.pass_rates.file), task_source(item)).adapter
        adapter = config.adapter_of(item.label)
        if through not in (None, as_json(plain(adapter))):
            notes.append(
                f"{item.label} is played through {adapter.name!r}, and its easy and hard tasks are "
                f"by pass rates through {through['name']!r} or other settings of it: hard there "
                "need not be hard here"
            )
    return notes


def run(
    config: RunConfig,
    plugins: Plugins,
    files: RunDirectory,
    listing: Listing,
    interruption: Interruption,
    quiet: bool,
    begun: Clocks | None,
) -> None:
    """Run a stream from its beginning or its last checkpoint to its end.

    Nothing is written before everything that can be checked has been. A long run says at its
    beginning what it will cost; `begun` is when its process began to prepare it, None to say
    nothing.

    Raises:
        ContrailError: something the user can put right.
    """
    torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        made = stack.enter_context(
            prepared(
                with_dtype_of(config, files.newest_state()),
                plugins,
                listing,
                files.start(),
                _warm(config, files),
            )
        )
        stack.enter_context(files.locked())
        reporter = stack.enter_context(Reporter(*_amount(config, made), quiet))
        state = files.newest_state()
        origin = kept(state, config, plugins, made.scenario) or made.begun
        notes = [
            *made.policy.notes,
            *(origin.notes if origin is not None else ()),
            *made.notes,
            *_without_effect(config, made.stages),
            *_split_otherwise(config),
            *remarks(config, plugins),
        ]
        for note in notes:
            reporter.say(note)
        reporter.live = Live(files.path)
        if not files.result.is_file():  # a run that has ended keeps all until it is seen to go on
            files.write_config(to_yaml(config))
        if begun is not None and not state and not quiet:
            reporter.say(short(_at_the_start(config, made, plugins, files.path.name, begun)))
        before = state.get("source_files", {})
        sources = begun_with(config, before, source_files(config, plugins))
        for name in edited(before, sources):
            reporter.say(
                f"warning: {name} has been edited since this run began, so the run mixes "
                "versions of it. To use one version only, choose another --out."
            )
        known = state.get("baselines", {})
        wanted = config.evaluate.baselines
        on_wait = telling(reporter.waiting, reporter.say)
        beside = of_run(config, made.scenario, plugins, reporter, on_wait, known) if wanted else {}
        run = Run(
            name=files.path.name,
            config=config,
            files=files,
            plugins=plugins,
            observers=Observers(
                plugins, files.path, None if quiet else reporter.say, config.trackers
            ),
            environments=made.scenario.environments,
            stages=[stage.name for stage in made.stages],
            meant=[[] if stage.warmup else stage.environments for stage in made.stages],
            restarts=made.strategy.restarts,
            own_loras=made.strategy.own_loras,
            dtype=str(made.policy.base.dtype).removeprefix("torch."),
            begun=origin,
            baselines=beside,
            source_files=merged({}, sources),
            notes=notes,
        )
        on_wait = telling(reporter.waiting, reporter.say, run.waited)
        rollouts = _rollouts(config, made, plugins, reporter, interruption.check, on_wait)
        checkpoints = Checkpoints(run, made.policy, made.learner, made.strategy, reporter)
        tests = made.scenario.test
        drift = Drift(made.policy, made.learner, made.strategy, reporter, interruption.check)
        measured = drift if config.evaluate.drift else None
        rows = Rows(run, tests, made.policy, made.strategy, rollouts, checkpoints, measured)
        interruption.deferred = True
        Loop(
            run=run,
            made=made,
            rollouts=rollouts,
            rows=rows,
            curves=Curves(run, tests, made.policy, made.strategy, rollouts),
            checkpoints=checkpoints,
            reporter=reporter,
        ).go()


def estimate(
    config: RunConfig,
    plugins: Plugins,
    listing: Listing,
    name: str,
    begun: Clocks,
    known: dict[str, Known] | None = None,
) -> Estimate:
    """Return what a run would cost, from a few measured steps. Nothing is written.

    What `known` has is not measured again, and what is measured is added to it.

    Raises:
        ContrailError: something the user can put right.
    """
    torch.set_num_threads(config.threads)
    with prepared(config, plugins, listing) as made:
        return _measured(config, made, plugins, name, begun, DRY_RUN, lambda: None, known)


def _at_the_start(
    config: RunConfig, made: Prepared, plugins: Plugins, name: str, begun: Clocks
) -> Estimate:
    """Return what a run will cost, from the fewest steps there can be; its episodes alone if it is
    short, or if they take too long."""
    found = counted(config, made, name)
    if found.training + found.evaluation < LONG:
        return found
    end = time.monotonic() + START

    def check() -> None:
        if time.monotonic() > end:
            raise TooLong

    try:
        return _measured(config, made, plugins, name, begun, 0.0, check)
    except TooLong:
        return found


def _measured(
    config: RunConfig,
    made: Prepared,
    plugins: Plugins,
    name: str,
    begun: Clocks,
    seconds: float,
    check: Callable[[], None],
    known: dict[str, Known] | None = None,
) -> Estimate:
    on_wait = telling(_print, _print)  # the reporter says nothing of the measured steps themselves
    rollouts = _rollouts(config, made, plugins, Reporter(0, 0, quiet=True), check, on_wait)
    measurement = Measurement(config, made, rollouts, plugins, seconds, check, known)
    return measurement.estimate(name, begun)


def _rollouts(
    config: RunConfig,
    made: Prepared,
    plugins: Plugins,
    reporter: Reporter,
    check: Callable[[], None],
    on_wait: OnWait,
) -> Rollouts:
    return Rollouts(
        made.policy,
        made.scenario.pool,
        made.scenario.adapters,
        seed=config.seed,
        temperature=made.learner.config.temperature,
        settings=config.evaluate,
        answers=config.answers,
        reporter=reporter,
        check=check,
        metrics=plugins.episode_metrics,
        diagnose=plugins.diagnosis(
            {item.label: (item.name, item.max_turns, item.shift) for item in config.environments}
        ),
        remember=_evaluates_again(config, made),
        dice={item.label: config.dice_of(item.label) for item in config.environments},
        on_wait=on_wait,
    )


def _evaluates_again(config: RunConfig, made: Prepared) -> bool:
    """Whether a policy is evaluated more than once: by a learning curve and a row of R, or by the
    rows around a stage without updates. What is remembered takes memory."""
    return config.evaluate.every is not None or any(not stage.updates for stage in made.stages)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _warm(config: RunConfig, files: RunDirectory) -> Path | None:
    """Return the checkpoint after the warm-up, if there is one that is whole."""
    if config.warmup is None:
        return None
    try:
        path = files.checkpoint(Position(1))
        read_checkpoint(path)
    except DamagedError:  # the run goes on from an earlier one, and says so
        return None
    return path


def _amount(config: RunConfig, made: Prepared) -> tuple[int, int]:
    """Return the number of updates and evaluations a run makes."""
    updates, evaluations = work([stage.updates for stage in made.stages], config.evaluate.every)
    return updates, evaluations * len(made.scenario.test)
