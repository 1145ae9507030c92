"""Evaluates a policy on environments, without training: `contrail eval`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from contrail.adapter import Adapter
from contrail.config import AnswersConfig, Component, EnvironmentConfig, EvaluateConfig, RunConfig
from contrail.environment import NoConfig
from contrail.errors import ConfigError
from contrail.metrics.scores import Scores
from contrail.progress.reporter import Reporter
from contrail.registry.plugins import Plugins
from contrail.registry.registered import not_registered
from contrail.runs.begun import history_of, tested_before, unfinished
from contrail.runs.evaluate import evaluate
from contrail.runs.playing import playing
from contrail.runs.policies import find_policy, named_policy
from contrail.stream.listing import list_tasks, maker
from contrail.stream.scenario import make_adapter
from contrail.tasks.selection import test_tasks
from contrail.workers.pool import EnvironmentPool


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
    """Evaluate a policy on environments.

    Args:
        name: a run directory (its newest checkpoint), a checkpoint, a PEFT directory, or a model: a
            registered name, a directory or a hub id.
        environments: columns of that run, or registered environments with default settings.
        plugins: the loaded plugins; the run's own are added.
        adapter: the adapter; by default the run's, or `choose`.
        tasks: the largest number of test tasks per environment; by default as in the run, or 32.
        samples: the number of episodes per task; by default as in the run, or 1.
        greedy: take the likeliest choice or token instead of sampling; by default as in the run.
        threads: the number of threads of torch.
        quiet: show no progress.

    Returns:
        The scores, by environment.

    Raises:
        ContrailError: the policy or an environment cannot be loaded.
    """
    torch.set_num_threads(threads)
    model, lora = find_policy(name, plugins)
    config = lora.config if lora else None
    chosen = [column(name, config, plugins) for name in environments]
    adapters = {
        environment.label: adapter_of(environment.label, config, adapter, plugins)
        for environment in chosen
    }
    policy, lora = named_policy(model, lora, plugins)
    settings = config.evaluate if config else EvaluateConfig()
    tasks = settings.tasks if tasks is None else tasks
    samples = settings.samples if samples is None else samples
    greedy = settings.decoding == "greedy" if greedy is None else greedy
    temperature = config.grpo.temperature if config else 1.0
    answers = config.answers if config else AnswersConfig()
    history = (history_of(lora, plugins) if lora else None) or []
    results = {}
    with Reporter(0, len(chosen), quiet) as reporter:
        for note in (*policy.notes, *unfinished(model, lora)):
            reporter.say(note)
        plays = playing(policy, lora, plugins, reporter.say)
        for item in chosen:
            pool = EnvironmentPool({item.label: maker(item, plugins)})
            try:
                selected = test_tasks(list_tasks(pool, item, plugins)["test"], tasks)
                for note in tested_before(model, history, item, selected, pool, plugins).notes:
                    reporter.say(note)
                title = f"evaluate {item.label}"
                reporter.start("evaluation", title, len(selected) * samples)
                with plays(item.label):
                    results[item.label], _ = evaluate(
                        policy,
                        pool,
                        item.label,
                        selected,
                        adapters[item.label],
                        seed=config.seed if config else 0,
                        samples=samples,
                        temperature=temperature,
                        greedy=greedy,
                        end_after_invalid=answers.end_after_invalid,
                        progress=reporter.advance,
                        metrics=plugins.episode_metrics,
                        diagnose=plugins.diagnosis(
                            {item.label: (item.name, item.max_turns, item.shift)}
                        ),
                        dice=config.dice_of(item.label) if config else None,
                    )
            finally:
                pool.close()
            success = results[item.label].success
            reporter.done("success –" if success is None else f"success {success:.2f}")
    return results


def column(name: str, config: RunConfig | None, plugins: Plugins) -> EnvironmentConfig:
    """Return a column of a run, or a registered environment with its default settings.

    Raises:
        ConfigError: no environment has the name.
    """
    labelled = {item.label: item for item in config.environments} if config else {}
    if name in labelled:
        return labelled[name]
    if name not in plugins.environments:
        names = list(dict.fromkeys([*labelled, *plugins.environments]))
        raise ConfigError(f"no environment is called {name!r}. {not_registered(name, names)}")
    return EnvironmentConfig(name, plugins.environments[name].value.Config(), name)


def adapter_of(label: str, config: RunConfig | None, name: str | None, plugins: Plugins) -> Adapter:
    """Return the adapter through which a policy plays an environment.

    Args:
        label: the environment's column.
        config: of the run that trained the policy, if there is one.
        name: a registered adapter; None for the one of the run, or `choose`.
        plugins: the loaded plugins.

    Raises:
        ConfigError: no adapter has the name.
    """
    if name is not None:
        return make_adapter(Component(name, plugins.adapters[name].value.Config()), plugins)
    if config is None:
        return make_adapter(Component("choose", NoConfig()), plugins)
    return make_adapter(config.adapter_of(label), plugins)
