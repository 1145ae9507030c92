"""A run of a stream, and the evaluation of a policy: everything is made here and put together."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig

from contrail.baselines.stream import of_run
from contrail.config import (
    Component,
    EnvironmentConfig,
    EvaluateConfig,
    RunConfig,
    grpo_config,
    load,
    lora_config,
    to_yaml,
)
from contrail.environment import NoConfig
from contrail.errors import ConfigError, ContrailError, nearest
from contrail.model.policy import Policy, linear_modules, load_base, with_adapter
from contrail.progress import Reporter
from contrail.registry import Plugins
from contrail.runs.checkpoints import Checkpoints
from contrail.runs.composition import Composition, compose
from contrail.runs.directory import RunDirectory
from contrail.runs.evaluate import evaluate
from contrail.runs.interrupt import Interruption
from contrail.runs.loop import Loop
from contrail.runs.rollouts import Rollouts
from contrail.runs.run import Run
from contrail.scores import Scores
from contrail.stage import Stage
from contrail.stream import (
    Listing,
    Scenario,
    build,
    list_tasks,
    make_adapter,
    maker,
)
from contrail.tasks import test_tasks
from contrail.training.learner import Learner
from contrail.training.verify import verify
from contrail.workers.pool import EnvironmentPool


@dataclass
class Prepared:
    """All that a run needs, made and found to fit together."""

    scenario: Scenario
    stages: Sequence[Stage]
    policy: Policy
    learner: Learner
    strategy: Composition


@contextmanager
def prepared(config: RunConfig, plugins: Plugins, listing: Listing) -> Iterator[Prepared]:
    """Make all that a run needs, and check everything that can be; nothing is written.

    Raises:
        ContrailError: something the user can put right.
    """
    with ExitStack() as stack:
        # TRL makes the directory it is given, though it has nothing to write.
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="contrail-"))
        grpo = grpo_config(config, Path(scratch))
        lora_config(config)  # refuses bad keys before a model is fetched
        scenario = build(config, plugins, listing)
        strategy = compose(config, plugins)
        try:
            stages = strategy.stages(scenario.train)
        except ConfigError as error:
            raise ConfigError(str(error), key=("strategy",), of_children=True) from error
        policy = make_policy(config, plugins)
        try:
            learner = Learner(policy, grpo)
        except (ValueError, TypeError, ImportError) as error:
            text = f"trl refuses it: {' '.join(str(error).split())}"
            raise ConfigError(text, key=("grpo",), of_children=True) from error
        try:
            strategy.begin(learner, stages)
        except ConfigError as error:
            raise ConfigError(str(error), key=("strategy",), of_children=True) from error
        yield Prepared(scenario, stages, policy, learner, strategy)


def run(
    config: RunConfig,
    plugins: Plugins,
    files: RunDirectory,
    listing: Listing,
    interruption: Interruption,
    quiet: bool,
) -> None:
    """Run a stream from its beginning or its last checkpoint to its end.

    Nothing is written before everything that can be checked has been.

    Raises:
        ContrailError: something the user can put right.
    """
    torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        made = stack.enter_context(prepared(config, plugins, listing))
        stack.enter_context(files.locked())
        reporter = stack.enter_context(Reporter(*_amount(config, made), quiet))
        for note in made.policy.chat.notes:
            reporter.say(note)
        _say_if_slow(made.policy, reporter)
        files.write_config(to_yaml(config))
        # A run that goes on has them in its checkpoint.
        wanted = config.evaluate.baselines and not files.checkpoints()
        beside = of_run(config, made.scenario, plugins, reporter) if wanted else {}
        run = Run(
            name=files.path.name,
            config=config,
            files=files,
            plugins=plugins,
            environments=made.scenario.environments,
            stages=[stage.name for stage in made.stages],
            meant=[stage.environments for stage in made.stages],
            restarts=made.strategy.restarts,
            baselines=beside,
        )
        rollouts = Rollouts(
            made.policy,
            made.scenario.pool,
            made.scenario.adapters,
            seed=config.seed,
            temperature=made.learner.config.temperature,
            settings=config.evaluate,
            reporter=reporter,
            check=interruption.check,
            metrics=plugins.episode_metrics,
        )
        interruption.deferred = True
        Loop(
            run=run,
            scenario=made.scenario,
            stages=made.stages,
            policy=made.policy,
            learner=made.learner,
            strategy=made.strategy,
            rollouts=rollouts,
            checkpoints=Checkpoints(run, made.policy, made.learner, made.strategy, reporter),
            reporter=reporter,
        ).go()


def _amount(config: RunConfig, made: Prepared) -> tuple[int, int]:
    """How many updates and evaluations a run makes."""
    updates = sum(stage.updates for stage in made.stages)
    evaluations = (len(made.stages) + 1) * len(made.scenario.test)
    if every := config.evaluate.every:
        evaluations += sum(
            (1 - -stage.updates // every) * len(stage.environments)
            for stage in made.stages
            if stage.updates
        )
    return updates, evaluations


def make_policy(config: RunConfig, plugins: Plugins) -> Policy:
    """The configured model with a fresh adapter."""
    name = config.model
    if name in plugins.models:
        name = str(plugins.models[name].value())
    base, tokenizer = load_base(
        name,
        dtype=config.dtype,
        device=config.device,
        trust_remote_code=config.trust_remote_code,
    )
    lora = lora_config(config, target_modules=None)
    if lora.target_modules == "all-linear":
        lora = lora_config(config, target_modules=sorted(linear_modules(base)))
    try:
        policy = with_adapter(
            base, tokenizer, lora, config.seed, config.max_context, config.cache_gb
        )
    except (ValueError, RuntimeError, TypeError, AttributeError, KeyError) as error:
        # What only peft and this model can tell.
        modules = sorted({name.rpartition(".")[2] for name in linear_modules(base)})
        raise ConfigError(
            f"peft refuses it: {' '.join(str(error).split())} "
            f"The model's linear modules: {', '.join(modules)}.",
            key=("lora",),
            of_children=True,
        ) from error
    verify(policy)
    return policy


def _say_if_slow(policy: Policy, reporter: Reporter) -> None:
    if policy.slow_because:
        reporter.say(
            f"model: {policy.slow_because}; contrail uses plain forwards, which are slower"
        )


def evaluate_policy(
    name: str,
    environments: Sequence[str],
    plugins: Plugins,
    *,
    adapter: str | None = None,
    tasks: int | None = None,
    samples: int | None = None,
    greedy: bool | None = None,
    threads: int = 1,
    quiet: bool = False,
) -> dict[str, Scores]:
    """Scores of a policy on environments, by environment.

    Args:
        name: a run directory (its last checkpoint), a checkpoint of one, a PEFT adapter's
            directory, or a model: a registered name, a directory or a hub id.
        environments: columns of that run, or registered environments with default settings.
        plugins: the loaded plugins; those of the run are added.
        adapter: by default the run's own, or `choose`.
        tasks: test tasks of each environment, at most; by default as in the run, or 32.
        samples: episodes of each task; by default as in the run, or 1.
        greedy: take the likeliest choice or token instead of sampling; by default as in the run.
        threads: of torch.
        quiet: show nothing while it works.

    Raises:
        ContrailError: the policy or an environment cannot be had.
    """
    torch.set_num_threads(threads)
    config, checkpoint = _policy_source(Path(name), plugins)
    labelled = {item.label: item for item in config.environments} if config else {}
    chosen = []
    for environment in environments:
        if environment not in labelled and environment not in plugins.environments:
            known = list(dict.fromkeys([*labelled, *plugins.environments]))
            raise ConfigError(
                f"no environment is called {environment!r}. {nearest(environment, known)}"
            )
        known_settings = labelled.get(environment)
        if known_settings is None:
            own = plugins.environments[environment].value.Config()
            known_settings = EnvironmentConfig(environment, own, environment)
        chosen.append(known_settings)
    default = config.adapter if config else Component("choose", NoConfig())
    own_adapter: dict[str, Component] = {}
    for stage in config.stream if config else ():
        own_adapter.setdefault(stage.environment.label, stage.adapter)
    if adapter is not None:
        default, own_adapter = Component(adapter, plugins.adapters[adapter].value.Config()), {}
    acting = {
        item.label: make_adapter(own_adapter.get(item.label, default), plugins) for item in chosen
    }
    if config is not None:
        policy = make_policy(config, plugins)
    else:
        policy = _bare_policy(name, checkpoint, plugins)
    if checkpoint is not None:
        policy.restore(checkpoint)
    settings = config.evaluate if config else EvaluateConfig()
    tasks = settings.tasks if tasks is None else tasks
    samples = settings.samples if samples is None else samples
    greedy = settings.decoding == "greedy" if greedy is None else greedy
    temperature = config.grpo.temperature if config else 1.0
    results = {}
    with Reporter(0, len(chosen), quiet) as reporter:
        for note in policy.chat.notes:
            reporter.say(note)
        _say_if_slow(policy, reporter)
        for item in chosen:
            pool = EnvironmentPool({item.label: maker(item, plugins)})
            try:
                selected = test_tasks(list_tasks(pool, item, plugins)["test"], tasks)
                title = f"evaluate {item.label}"
                reporter.start("evaluation", title, len(selected) * samples)
                results[item.label], _ = evaluate(
                    policy,
                    pool,
                    item.label,
                    selected,
                    acting[item.label],
                    seed=config.seed if config else 0,
                    samples=samples,
                    temperature=temperature,
                    greedy=greedy,
                    progress=reporter.advance,
                    metrics=plugins.episode_metrics,
                )
            finally:
                pool.close()
            success = results[item.label].success
            reporter.done("success –" if success is None else f"success {success:.2f}")
    return results


def _policy_source(path: Path, plugins: Plugins) -> tuple[RunConfig | None, Path | None]:
    """The configuration of the run a path belongs to, if any, and the adapter's directory."""
    if (path / "config.yaml").is_file() and (path / "checkpoints").is_dir():
        found = RunDirectory(path).last_checkpoint()
        if found is None:
            raise ContrailError(f"{path} has no checkpoint yet")
        return load(path / "config.yaml", (), plugins)[0], found[0]
    if (path / "adapter_config.json").is_file():
        above = path.resolve().parent.parent / "config.yaml"
        config = load(above, (), plugins)[0] if above.is_file() else None
        return config, path
    return None, None


def _bare_policy(name: str, checkpoint: Path | None, plugins: Plugins) -> Policy:
    """A model without a run; for an adapter on its own, the model that it names."""
    lora = LoraConfig(r=1, task_type="CAUSAL_LM")
    if checkpoint is not None:
        lora = LoraConfig.from_pretrained(str(checkpoint))
        name = str(lora.base_model_name_or_path)
    elif name in plugins.models:
        name = str(plugins.models[name].value())
    elif not Path(name).is_dir() and not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        raise ConfigError(
            f"{name!r} is neither a directory nor a model. {nearest(name, plugins.models)}"
        )
    base, tokenizer = load_base(name)
    if checkpoint is None:
        # A fresh adapter changes nothing: its B matrices are 0.
        lora.target_modules = sorted(linear_modules(base))
    policy = with_adapter(base, tokenizer, lora, seed=0)
    verify(policy)
    return policy
