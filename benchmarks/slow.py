"""An environment that takes its time. Worker processes import this module: it is light."""

from __future__ import annotations

import time
from dataclasses import dataclass

import contrail


@dataclass
class SlowConfig:
    """`turns` of an episode, `seconds` of a step."""

    turns: int = 6
    seconds: float = 0.2


class Slow(contrail.Environment):
    """Waits in every step, as an environment waits for its engine or its server."""

    Config = SlowConfig

    def __init__(self, config: SlowConfig | None = None) -> None:
        super().__init__(config)
        self.max_turns = self.config.turns

    def tasks(self, split: str) -> list[contrail.Task]:
        return [contrail.Task("slow", f"{split}-{seed}", seed, split) for seed in range(100)]

    def reset(self, task: contrail.Task) -> contrail.Observation:
        return contrail.Observation(f"CacheAdmission {task.seed}.", ["wait", "look", "go on"])

    def step(self, action: str) -> contrail.Step:
        time.sleep(self.config.seconds)
        return contrail.Step(contrail.Observation(f"You {action}.", ["wait", "look", "go on"]))
