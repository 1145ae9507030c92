"""A person plays an environment in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console

from contrail.environment import SPLITS, Environment, Observation, Task
from contrail.errors import ConfigError, nearest
from contrail.registry import Plugins, blaming
from contrail.workers.factory import EnvironmentFactory


def play_in_terminal(
    name: str,
    plugins: Plugins,
    *,
    task_id: str | None = None,
    split: str = "train",
    expert: bool = False,
) -> None:
    """Play one task with default settings; an action is its number in the list, or its text.

    Args:
        name: a registered environment, or a plugin file that registers one.
        plugins: where environments are registered.
        task_id: which task; by default the split's first.
        split: "train" or "test".
        expert: show the expert's play instead of asking.

    Raises:
        ContrailError: there is no such environment, task or expert, or the environment raised.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split {split}: {nearest(split, SPLITS)}")
    name = plugins.environments_of(name)[0]
    registered = plugins.environments[name]
    environment = EnvironmentFactory(name, registered).here()
    try:
        with blaming("environment", name, registered, f"play of the split {split!r}"):
            _play(environment, list(environment.tasks(split)), task_id, expert)
    finally:
        environment.close()


def _play(environment: Environment, tasks: list[Task], task_id: str | None, expert: bool) -> None:
    by_id = {task.id: task for task in tasks}
    task = tasks[0] if task_id is None else by_id.get(task_id)
    if task is None:
        raise ConfigError(f"--task {task_id}: no such task. {nearest(task_id, list(by_id)[:200])}")
    console = Console(highlight=False, markup=False)
    console.print(f"task {task.id}, difficulty {task.difficulty}")
    if environment.system_prompt:
        console.print(environment.system_prompt, style="dim")
    script: Iterator[str] | None = None
    if expert:
        actions = environment.expert(task)
        if actions is None:
            raise ConfigError(f"there is no expert for task {task.id!r}")
        script = iter(actions)
    observation = environment.reset(task)
    for turn in range(1, environment.max_turns + 1):
        _show(console, observation)
        action = _ask(turn, observation) if script is None else next(script, None)
        if action is None:
            console.print("Goodbye.")
            return
        if script is not None:
            console.print(f"{turn}> {action}")
        step = environment.step(action)
        observation = step.observation
        if step.terminated or step.truncated:
            console.print(observation.text)
            outcome = "Solved" if step.success else "Over, not solved"
            console.print(f"{outcome} in {turn} turns; reward {step.reward:g}.")
            return
    console.print(observation.text)
    console.print(f"Over: {environment.max_turns} turns are all there are.")


def _show(console: Console, observation: Observation) -> None:
    console.print(f"\n{observation.text}")
    for number, action in enumerate(observation.actions or (), start=1):
        console.print(f"  {number:2}  {action}")


def _ask(turn: int, observation: Observation) -> str | None:
    """What is typed, or None at the end of the input."""
    try:
        typed = input(f"{turn}> ").strip()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stdout)
        return None
    actions = list(observation.actions or ())
    if typed.isdecimal() and 1 <= int(typed) <= len(actions) and typed not in actions:
        return actions[int(typed) - 1]
    return typed
