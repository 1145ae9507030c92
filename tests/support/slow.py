"""A world that is slow, and dies or hangs at will. Worker processes import it: keep it light."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contrail
from contrail.errors import ConfigError
from contrail.registry.registered import Registered
from contrail.workers.factory import EnvironmentFactory


@dataclass
class Settings:
    """`delay`: seconds of a reset or step; with `random`, up to that. `log`: a directory in which
    each instance keeps the times of its calls. `fail`: what happens in task 1, at its second step
    (a step) or at its start (a reset)."""

    delay: float = 0.0
    random: bool = False
    log: str = ""
    fail: str = ""


class Slow(contrail.Environment):
    """The actions are lengths of steps; the goal is the door."""

    Config = Settings
    system_prompt = "Find the door."
    max_turns = 4

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        if self.config.fail == "missing":
            raise ImportError("No module named 'jvm'")
        if self.config.fail == "unmade":
            raise ConfigError("`fail` must not be unmade")
        if self.config.fail == "slow at start":
            time.sleep(4)
        if self.config.fail == "killed at start":
            os._exit(7)
        self._times: list[float] = []
        self._child: subprocess.Popen[bytes] | None = None

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("slow", f"{split}/{n}", n, split) for n in range(40)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        self._task, self._steps, self._place = task, 0, task.seed % 3
        with self._timed():
            if task.seed == 1:
                self._misbehave("reset")
        return self._seen()

    def step(self, action: str) -> contrail.Step:
        self._steps += 1
        self._place = (2 * self._place + len(action)) % 7
        with self._timed():
            if self._task.seed == 1 and self._steps == 2:
                self._misbehave("step")
        found = self._place == 5
        return contrail.Step(self._seen(), float(found), terminated=found, success=found)

    def expert(self, task: contrail.Task) -> list[str]:
        return [f"walk {task.seed}"]

    def close(self) -> None:
        if self.config.log:
            Path(self.config.log, f"closed-{os.getpid()}").touch()

    def _seen(self) -> contrail.Observation:
        actions = [f"{verb} to {self._place}" for verb in ("go", "walk", "wander off")]
        return contrail.Observation(f"You are at {self._place}.", actions)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        self._times.append(time.monotonic())
        time.sleep(self.config.delay * (random.random() if self.config.random else 1.0))
        yield
        self._times.append(time.monotonic())
        if self.config.log:
            lines = "\n".join(map(str, self._times))
            Path(self.config.log, f"times-{os.getpid()}").write_text(lines)

    def _misbehave(self, where: str) -> None:
        fail = self.config.fail
        if fail == f"raise in {where}":
            raise ValueError("it broke")
        if fail == f"cancel in {where}":
            raise asyncio.CancelledError("by peer")
        if fail == f"exit in {where}":
            os._exit(3)
        if fail == f"hang in {where}":
            self._child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(self.config.log, f"child-{self._child.pid}").touch()
            time.sleep(600)
        if fail == f"generator in {where}":
            self._seen = lambda: (word for word in ["no", "observation"])  # type: ignore


def maker(workers: int = 2, timeout: float = 60.0, **settings: Any) -> EnvironmentFactory:
    """What makes instances in so many worker processes."""
    registered = Registered[type[contrail.Environment]](Slow, "slow")
    return EnvironmentFactory("slow", registered, Settings(**settings), None, workers, timeout)


@contrail.hookimpl
def contrail_environments(register: Any) -> None:
    register("slow", Slow)
