"""An episode to play, and its state while it is played."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from contrail.adapter import Adapter
from contrail.environment import Environment, Task
from contrail.episode import Episode
from contrail.model.chat import Chat
from contrail.rollout.interface import Interface
from contrail.rollout.script import Move, Script
from contrail.sampler import Context


@dataclass(frozen=True)
class Job:
    """One episode to play: a task of the environment in column `environment` of R, its adapter, and
    the generator of all its randomness.

    `script`: decides in place of the model; the episode is a demonstration.
    """

    environment: str
    task: Task
    adapter: Adapter
    rng: numpy.random.Generator
    sample: int = 0
    script: Script | None = None


@dataclass
class Play:
    """An episode under way.

    `asked`: the member of the environment that was called, with its arguments, until it has
    answered. `due`: the step before which the answer is collected. `interface`, `chat`: from its
    first observation on. `prompt`, `restart`: of the coming turn. `ending`: how the episode ends
    when the model's turn comes, because the model cannot act. `moves`: those to come of a
    demonstration.
    """

    job: Job
    environment: Environment
    context: Context
    episode: Episode = field(init=False)
    asked: tuple[str, Sequence[Any]] | None = None
    due: int = 0
    interface: Interface = field(init=False)
    chat: Chat = field(init=False)
    shown: str = ""
    prompt: list[int] = field(default_factory=list)
    restart: bool = False
    candidates: Sequence[str] = ()
    ending: str = ""
    moves: deque[Move] | None = None

    def __post_init__(self) -> None:
        self.episode = Episode(self.job.environment, self.job.task, self.job.sample)
        self.episode.demonstrated = self.job.script is not None

    @property
    def stopped(self) -> bool:
        """Whether the episode is to be ended; its environment has not been told yet."""
        return bool(self.ending) and not self.episode.ended and self.asked is None
