"""Begins a task of an environment, before a run writes anything."""

from __future__ import annotations

from collections.abc import Sequence

from contrail.adapter import Adapter, EpisodeView, call
from contrail.config import EnvironmentConfig
from contrail.environment import Environment, Observation, Task
from contrail.errors import ConfigError, ContrailError, PluginError
from contrail.registry.plugins import Plugins, blaming
from contrail.values import as_text, as_texts, shown
from contrail.workers.pool import EnvironmentPool

TRIES = 3  # tasks of which one has to begin


def _begun(
    environment: Environment, config: EnvironmentConfig, task: Task, plugins: Plugins
) -> Observation:
    """Return the first observation of a task.

    Raises:
        PluginError: the environment raised, or returned something else.
    """
    registered = plugins.environments[config.name]
    what = f"reset of the task {task.id!r}"
    with blaming("environment", config.name, registered, what):
        observation = environment.reset(task)
    if not isinstance(observation, Observation):
        raise PluginError(
            f"environment {config.name!r} (plugin {registered.plugin!r}): {what} must return a "
            f"contrail.Observation; it returned {shown(observation)}"
        )
    return observation


def try_tasks(
    pool: EnvironmentPool,
    config: EnvironmentConfig,
    tasks: Sequence[Task],
    adapter: tuple[str, Adapter],
    plugins: Plugins,
) -> None:
    """Begin a task, so that an impossible combination is refused before anything is written.

    One that raises may be the only one, which a run counts as a fault: the next are tried.

    Args:
        pool: has the environment.
        config: its configuration.
        tasks: of which one is begun.
        adapter: its name, and the adapter.
        plugins: the loaded ones.

    Raises:
        ContrailError: the environment raised in all of the first tasks, or the adapter raised, or
            they do not fit together.
    """
    first: ContrailError | None = None
    for task in tasks[:TRIES]:
        environment = pool.take(config.label)
        try:
            observation = _begun(environment, config, task, plugins)
            break
        except ConfigError:
            raise
        except ContrailError as error:
            first = first or error
        finally:
            pool.give(config.label, environment)
    else:
        assert first is not None
        raise first
    what = f"reset of the task {task.id!r}"
    name, made = adapter
    try:
        with blaming("adapter", name, plugins.adapters[name], what):
            view = EpisodeView(config.label, task, environment.max_turns, observation)
            as_text(call(made, "system", environment, task), "system()")
            as_text(call(made, "render", observation, view), "render()")
            candidates = call(made, "candidates", observation, view)
            if candidates is not None:
                as_texts(candidates, "candidates()")
                if config.shift is not None and config.shift.actions != "every":
                    raise ConfigError(
                        f"shift: actions is {config.shift.actions!r}, but the adapter "
                        f"{name!r} never shows the list: the model chooses from it. "
                        "Leave out `actions`, or take an adapter for free text, such as react."
                    )
    except ConfigError as error:
        raise ConfigError(f"environment {config.label!r}: {error}") from error
