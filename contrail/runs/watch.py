"""One episode of a policy, to look at: `contrail play --policy`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from contrail.config import EnvironmentConfig
from contrail.environment import Split
from contrail.episode import Episode
from contrail.errors import ConfigError, nearest
from contrail.registry.plugins import Plugins
from contrail.runs.begun import unfinished
from contrail.runs.evaluate import evaluate
from contrail.runs.evaluate_policy import adapter_of, column
from contrail.runs.playing import playing
from contrail.runs.policies import find_policy, named_policy
from contrail.stream.listing import list_tasks, maker
from contrail.workers.pool import EnvironmentPool


def watch(
    policy_name: str,
    environment: str | EnvironmentConfig,
    plugins: Plugins,
    *,
    task_id: str | None = None,
    split: Split = "train",
    adapter: str | None = None,
    greedy: bool | None = None,
    say: Callable[[str], None],
) -> Episode:
    """Play one task with a policy, with the randomness of the task's first evaluation.

    Args:
        policy_name: a run (its newest checkpoint), a checkpoint, a directory of PEFT's, or a model.
        environment: a column of the run or a registered environment, or one with settings.
        plugins: the loaded plugins; the run's own are added.
        task_id: the task; by default the first one of the split.
        split: the split of the task.
        adapter: the adapter; by default that of the run, or `choose`.
        greedy: take the likeliest choice or token; by default as in the run, or false.
        say: takes notes for the user.

    Raises:
        ContrailError: there is no such policy, environment, adapter or task.
    """
    model, lora = find_policy(policy_name, plugins)
    config = lora.config if lora else None
    if isinstance(environment, str):
        environment = column(environment, config, plugins)
    # An instance in this process: a worker process would not be faster for one episode.
    environment = dataclasses.replace(environment, workers=0)
    acting = adapter_of(environment.label, config, adapter, plugins)
    pool = EnvironmentPool({environment.label: maker(environment, plugins)})
    try:
        tasks = {task.id: task for task in list_tasks(pool, environment, plugins)[split]}
        task = next(iter(tasks.values())) if task_id is None else tasks.get(task_id)
        if task is None:
            choices = nearest(task_id, list(tasks)[:200])
            raise ConfigError(f"--task {task_id}: no such task. {choices}")
        if greedy is None:
            greedy = config is not None and config.evaluate.decoding == "greedy"
        policy, lora = named_policy(model, lora, plugins)
        for note in (*policy.notes, *unfinished(model, lora)):
            say(note)
        with playing(policy, lora, plugins, say)(environment.label):
            _, (episode,) = evaluate(
                policy,
                pool,
                environment.label,
                [task],
                acting,
                seed=config.seed if config else 0,
                temperature=config.grpo.temperature if config else 1.0,
                greedy=greedy,
                end_after_invalid=config.answers.end_after_invalid if config else None,
                dice=config.dice_of(environment.label) if config else None,
            )
    finally:
        pool.close()
    return episode
