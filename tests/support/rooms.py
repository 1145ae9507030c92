"""A small world to play in, and a policy that is far from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contrail import Environment, Observation, Step, Task

if TYPE_CHECKING:
    from contrail.model.policy import Policy


class Rooms(Environment):
    """Seven rooms, whose actions differ in number and length; room 5 is the goal.

    Some actions begin like others, one stands twice. Tasks 0, 2, 4, … start alike, and so do the
    others.
    """

    system_prompt = "You walk through rooms. Find the key."
    max_turns = 4
    ACTIONS = (
        ("go", "go left", "go left now"),
        ("go right", "look", "look", "take the old brass key from the table"),
        ("open the door", "open the box"),
        ("wait",),
        ("go", "look around", "open the door", "go to the green ball", "drop it"),
        ("look", "go left"),
        ("toggle", "turn left", "turn right", "turn"),
    )

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.played: list[str] = []
        self.resets = 0

    def tasks(self, split: str) -> list[Task]:
        return [Task("rooms", f"{split}/{seed}", seed, split) for seed in range(12)]

    def reset(self, task: Task) -> Observation:
        self.resets += 1
        self._room = task.seed % 2
        return self._seen()

    def step(self, action: str) -> Step:
        self.played.append(action)
        self._room = (3 * self._room + len(action)) % 7
        found = self._room == 5
        reward = 1.0 if found else len(action) % 3 / 4
        return Step(self._seen(), reward=reward, terminated=found, success=found)

    def _seen(self) -> Observation:
        return Observation(f"You are in room {self._room}.", self.ACTIONS[self._room])


def train(policy: Policy, scale: float) -> None:
    """Set the adapter's second matrices, which begin as zeros, to random numbers."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data.copy_(noise)
