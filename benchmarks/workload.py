"""What is run: episodes of BabyAI whose lengths no contender can change."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import contrail
from contrail.envs.babyai.environment import BabyAI, BabyAIConfig
from contrail.episode import Episode
from contrail.model.policy import Policy
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.rollout.play import Job, play
from contrail.seeding import generator
from contrail.workers.pool import EnvironmentPool

SEED = 0
EASY_TO_HARD = [
    *("GoToLocalS8N7", "GoToObjMazeS7", "GoToDoor", "OpenDoorLoc"),
    *("PickupLoc", "UnlockPickupDist", "SynthS5R2", "BossLevel"),
]


@dataclass(frozen=True)
class Settings:
    """`tasks` times `group` episodes of `turns` turns, in each of which `tokens` are written.

    `rounds`: of measuring. `trl_batch`: TRL's per_device_train_batch_size. `trl_continuous`: TRL
    plays with transformers' continuous batching; on a CPU that is far slower.
    """

    model: str = "smollm2-135m"
    dtype: str = "float32"
    device: str = "cpu"
    quick: bool = False
    rounds: int = 1
    tasks: int = 8
    group: int = 8
    turns: int = 6
    tokens: int = 16
    trl_batch: int = 2  # without checkpointing, 8 such episodes take TRL some 35 GB in float32
    trl_continuous: bool = False

    @property
    def episodes(self) -> int:
        """How many are played at once."""
        return self.tasks * self.group


# Everything is run, and nothing takes long.
QUICK: dict[str, Any] = {
    "model": "tiny-random",
    "dtype": "float32",
    "quick": True,
    "rounds": 1,
    "tasks": 2,
    "group": 2,
    "turns": 2,
    "tokens": 4,
    "trl_batch": 2,
}


class Endless(BabyAI):
    """BabyAI without end: a solved task begins again, so that all episodes are of equal length."""

    def __init__(self, turns: int, tasks: int) -> None:
        super().__init__(BabyAIConfig(levels=EASY_TO_HARD, train_tasks=tasks, test_tasks=0))
        self.max_turns = turns

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self._task = task
        return super().reset(task)

    def step(self, action: str) -> contrail.Step:
        step = super().step(action)
        if step.terminated or step.truncated:
            step = replace(step, observation=super().reset(self._task))
        return replace(step, terminated=False, truncated=False)


class Scripted(React):
    """`react`, but the action is drawn by the observation, not by what the model wrote.

    So the environment says the same to all contenders, whatever they sample.
    """

    def __init__(self, tokens: int, salt: str) -> None:
        super().__init__(ReactConfig(max_new_tokens=tokens))
        self._salt = salt

    def parse(self, text: str, observation: contrail.Observation) -> str:
        assert observation.actions
        drawn = zlib.crc32(f"{self._salt}: {observation.text}".encode())
        return observation.actions[drawn % len(observation.actions)]


def scripted(settings: Settings, task: contrail.Task, sample: int) -> Scripted:
    """Return the adapter of one episode."""
    return Scripted(settings.tokens, f"{task.id} {sample}")


def make_environment(settings: Settings) -> Callable[[], Endless]:
    """What makes an instance of the environment."""
    return lambda: Endless(settings.turns, settings.tasks)


def tasks(settings: Settings) -> list[contrail.Task]:
    """Return the tasks of the workload."""
    return make_environment(settings)().tasks("train")[: settings.tasks]


def record(policy: Policy, settings: Settings) -> list[Episode]:
    """contrail's rollout of the workload: episodes, group after group."""
    return episodes_of(
        policy,
        tasks(settings),
        settings.group,
        make_environment(settings),
        lambda task, sample: scripted(settings, task, sample),
    )


def episodes_of(
    policy: Policy,
    tasks: Sequence[contrail.Task],
    group: int,
    environment: Callable[[], contrail.Environment],
    adapter: Callable[[contrail.Task, int], contrail.Adapter],
) -> list[Episode]:
    """contrail's rollout of tasks, `group` times each.

    Raises:
        RuntimeError: an episode ended in a fault, so that nothing would be comparable.
    """
    pool = EnvironmentPool({"environment": environment})
    try:
        episodes = play(policy, pool, jobs_of("environment", tasks, group, adapter)())
    finally:
        pool.close()
    for episode in episodes:
        if episode.fault is not None:
            raise RuntimeError(f"{episode.task.id}: {episode.fault}")
    return episodes


def jobs_of(
    environment: str,
    tasks: Sequence[contrail.Task],
    group: int,
    adapter: Callable[[contrail.Task, int], contrail.Adapter],
) -> Callable[[], list[Job]]:
    """What makes the jobs of a rollout, with the same randomness every time."""
    return lambda: [
        Job(environment, task, adapter(task, sample), generator(SEED, task.id, sample), sample)
        for task in tasks
        for sample in range(group)
    ]


def grouped(episodes: Sequence[Episode], size: int) -> list[list[Episode]]:
    """Episodes that follow each other, in groups."""
    return [list(episodes[begin : begin + size]) for begin in range(0, len(episodes), size)]


def token_work(episodes: Sequence[Episode]) -> int:
    """Tokens that a model must be run on to play these episodes: equal beginnings count once, and
    nothing comes after an episode's last token."""
    edges: dict[tuple[int, int], int] = {}
    for episode in episodes:
        node = 0
        for token in episode.token_ids[:-1]:
            node = edges.setdefault((node, token), len(edges) + 1)
    return len(edges)
