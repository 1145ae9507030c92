"""Small policies in fp32, and a small world to play in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from configs import complain, read  # noqa: F401  (fixtures)

from contrail import Environment, Observation, Step, Task

if TYPE_CHECKING:
    from contrail.model import Policy


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


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Policy]:
    """Makes policies of tiny-random. Its weights are enlarged, so that all it sees matters."""
    from contrail.model import linear_modules, load_base, with_adapter
    from contrail.plugins.models import tiny_random

    import torch  # isort: skip
    from peft import LoraConfig  # isort: skip

    torch.set_num_threads(1)
    whole, tokenizer = load_base(str(tiny_random()), dtype="float32", device="cpu")

    def make(
        trained: bool = True,
        max_context: int | None = None,
        dtype: torch.dtype = torch.float32,
        enlarged: float = 8,
        **settings: Any,
    ) -> Policy:
        """With `trained`, the adapter is as far from the start as it may get in a run.

        `settings` go to LoraConfig.
        """
        base = copy.deepcopy(whole)
        with torch.no_grad():
            for parameter in base.parameters():
                if parameter.dim() == 2:
                    parameter.mul_(enlarged)
        base.to(dtype)
        defaults = {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": sorted(linear_modules(base)),
            "task_type": "CAUSAL_LM",
        }
        lora = LoraConfig(**defaults | settings)
        policy = with_adapter(base, tokenizer, lora, seed=0, max_context=max_context)
        if trained:
            train(policy, 0.1)
        return policy

    return make


def train(policy: Policy, scale: float) -> None:
    """Set the adapter's second matrices, which begin as zeros, to random numbers."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data.copy_(noise)
