"""The command `play`: a person, an expert or a policy plays one task in the terminal."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console

from contrail.cli.options import plugins_of
from contrail.environment import SPLITS, Environment, Observation, Step, Task
from contrail.errors import ConfigError, nearest
from contrail.names import visible_lines
from contrail.plugin_files import plugin_file
from contrail.registry.plugins import Plugins, blaming
from contrail.rollout.checked import checked_observation, checked_step
from contrail.values import as_texts

if TYPE_CHECKING:
    from contrail.config import EnvironmentConfig
    from contrail.episode import Episode
    from contrail.workers.factory import EnvironmentFactory


def play(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(help="An environment, or a plugin file.")],
    settings: Annotated[
        Optional[list[str]],  # noqa: UP045 (Typer reads it at run time)
        typer.Argument(
            help="Keys of the environment, for example levels=[GoToLocal] max_turns=10.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    task: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The id of the task. Default: the first task of the split."),
    ] = None,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    expert: Annotated[bool, typer.Option("--expert", help="Watch the expert play.")] = False,
    policy: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Watch a policy play: a run, a checkpoint, a directory of PEFT's, or a model.",
            metavar="RUN",
        ),
    ] = None,
    adapter: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="With --policy, the adapter. Default: that of the run, or choose."),
    ] = None,
    greedy: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(help="With --policy, take the likeliest action. Default: as in the run."),
    ] = None,
) -> None:
    """Play a task, or watch a policy play it.

    An action is its number in the list, or its text.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: {nearest(split, SPLITS)}")
    if expert and policy is not None:
        raise ConfigError("--expert and --policy: choose one of them.")
    for word in settings or ():
        if "=" not in word:
            raise ConfigError(f"{word}: a setting is written KEY=VALUE, for example max_turns=10.")
    plugins = plugins_of(context)
    if policy is None:
        factory = _factory(environment, settings or (), plugins)
        _play_here(factory, split, task, expert)
        return
    from contrail.compat.loading import load_libraries
    from contrail.config import find_model
    from contrail.runs.interrupt import ending_at_once

    find_model(policy, Path.cwd(), plugins.models, key=None)
    with ending_at_once("interrupted before the play began"):
        load_libraries(quiet=False)
        from contrail.runs.watch import watch

    episode = watch(
        policy,
        _watched(environment, settings or (), plugins),
        plugins,
        task_id=task,
        split="test" if split == "test" else "train",
        adapter=adapter,
        greedy=greedy,
        say=functools.partial(print, file=sys.stderr),
    )
    _show_episode(episode)


def _factory(name: str, settings: list[str] | tuple[()], plugins: Plugins) -> EnvironmentFactory:
    from contrail.cli.list_environments import select

    return select([name, *settings], plugins).makers[0]


def _watched(
    name: str, settings: list[str] | tuple[()], plugins: Plugins
) -> str | EnvironmentConfig:
    """Return the environment for a policy: its name alone may be a column of the policy's run."""
    from contrail.config import EnvironmentConfig

    if not settings and (name in plugins.environments or plugin_file(name) is None):
        return name
    factory = _factory(name, settings, plugins)
    return EnvironmentConfig(
        factory.name,
        factory.own_settings,
        factory.name,
        factory.max_turns,
        shift=factory.shift,
    )


def _play_here(factory: EnvironmentFactory, split: str, task_id: str | None, expert: bool) -> None:
    """Play one task in this process.

    Raises:
        ContrailError: there is no such task or expert, or the environment raised.
    """
    from contrail.workers.factory import no_tasks

    environment = factory.here()
    try:
        with blaming("environment", factory.name, factory.registered, f"tasks({split!r})"):
            tasks = list(environment.tasks(split))
        if not tasks:
            raise no_tasks(factory.name, split, factory.own_settings)
        _play(_Checked(factory, environment), environment, tasks, task_id, expert)
    finally:
        environment.close()


class _Checked:
    """Calls an environment: what it returns is checked, and its errors name it and the call."""

    def __init__(self, factory: EnvironmentFactory, environment: Environment) -> None:
        self._factory = factory
        self._environment = environment

    def expert(self, task: Task) -> Sequence[str] | None:
        with self._blaming(f"expert({task.id!r})"):
            plan = self._environment.expert(task)
            return None if plan is None else as_texts(plan, "expert()")

    def reset(self, task: Task) -> Observation:
        with self._blaming(f"reset of the task {task.id!r}"):
            return checked_observation(self._factory.name, task.id, self._environment.reset(task))

    def step(self, action: str) -> Step:
        call = f"step({action!r})"
        with self._blaming(call):
            return checked_step(self._factory.name, call, self._environment.step(action))

    def finish(self) -> Step | None:
        with self._blaming("finish()"):
            step = self._environment.finish()
            return None if step is None else checked_step(self._factory.name, "finish()", step)

    def _blaming(self, call: str) -> AbstractContextManager[None]:
        return blaming("environment", self._factory.name, self._factory.registered, call)


def _play(
    world: _Checked,
    environment: Environment,
    tasks: list[Task],
    task_id: str | None,
    expert: bool,
) -> None:
    by_id = {task.id: task for task in tasks}
    task = tasks[0] if task_id is None else by_id.get(task_id)
    if task is None:
        raise ConfigError(f"--task {task_id}: no such task. {nearest(task_id, list(by_id)[:200])}")
    console = Console(highlight=False, markup=False)
    difficulty = "" if task.difficulty is None else f", difficulty {task.difficulty}"
    console.print(f"task {task.id}{difficulty}")
    if environment.system_prompt:
        console.print(environment.system_prompt, style="dim")
    script: Iterator[str] | None = None
    if expert:
        actions = world.expert(task)
        if actions is None:
            raise ConfigError(f"there is no expert for task {task.id!r}")
        script = iter(actions)
    observation = world.reset(task)
    reward = 0.0
    for turn in range(1, environment.max_turns + 1):
        _show(console, observation)
        action = _ask(turn, observation) if script is None else next(script, None)
        if action is None:
            console.print("Goodbye.")
            return
        if script is not None:
            console.print(f"{turn}> {action}")
        step = world.step(action)
        observation = step.observation
        reward += step.reward
        if step.terminated or step.truncated:
            console.print(observation.text)
            outcome = "Solved" if step.success else "Over, not solved"
            console.print(f"{outcome} in {turn} turns; reward {reward:g}.")
            return
    console.print(observation.text)
    end = world.finish()
    reward += 0.0 if end is None else end.reward
    solved = "Solved" if end is not None and end.success else "Over"
    console.print(f"{solved}: the limit is {environment.max_turns} turns; reward {reward:g}.")


def _show(console: Console, observation: Observation) -> None:
    console.print(f"\n{observation.text}")
    for number, action in enumerate(observation.shown.actions or (), start=1):
        console.print(f"  {number:2}  {action}")


def _ask(turn: int, observation: Observation) -> str | None:
    """Read an action; return None at the end of the input."""
    try:
        typed = input(f"{turn}> ").strip()
    except EOFError:
        print(file=sys.stdout)
        return None
    actions = list(observation.shown.actions or ())
    if typed.isdecimal() and 1 <= int(typed) <= len(actions) and typed not in actions:
        return actions[int(typed) - 1]
    return typed


def _show_episode(episode: Episode) -> None:
    """Print an episode turn by turn: observation, answer, probability and reward."""
    console = Console(highlight=False, markup=False)
    console.print(f"task {episode.task.id}, difficulty {episode.task.difficulty}")
    for number, turn in enumerate(episode.turns, start=1):
        console.print(f"\n{visible_lines(turn.observation)}")
        if turn.choices is None:
            mean = sum(turn.logprobs) / max(1, len(turn.logprobs))
            sure = f"{len(turn.written)} tokens, mean probability per token {math.exp(mean):.3f}"
        else:
            probability = math.exp(turn.logprobs[0])
            sure = f"probability {probability:.3f} among {len(turn.choices)} actions"
        console.print(f"{number}> {visible_lines(turn.text)}", style="bold")
        verdict = f"reward {turn.reward:g}" if turn.valid else "invalid action"
        console.print(f"   {sure}; {verdict}", style="dim")
    if episode.fault is not None:
        console.print(f"\nA fault of the environment: {episode.fault}")
        return
    outcome = "Solved" if episode.success else "Over, not solved"
    console.print(
        f"\n{outcome} in {len(episode.turns)} turns ({episode.ended}); reward {episode.reward:g}."
    )
