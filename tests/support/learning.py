"""What tests of learning share: episodes to learn from, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
from rooms import Rooms

import contrail
from contrail import Observation
from contrail.model.policy import Policy
from contrail.plugins.adapters.react import React
from contrail.seeding import generator

import torch  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.model.tree import TokenTree  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.training.shared.forest import Forest, TurnSpan  # isort: skip
from contrail.training.shared.packs import Pack  # isort: skip
from trl import GRPOConfig  # isort: skip

EXACT = 1e-4
Make = Callable[..., Policy]
Gradients = dict[str, torch.Tensor]


class Words(React):
    """Free text; whatever the model writes is an action."""

    def parse(self, text: str, observation: Observation) -> str:
        return text


class One(Rooms):
    """Rooms, in episodes of one turn."""

    max_turns = 1


def config(tmp_path: Path, **values: Any) -> GRPOConfig:
    minibatches = values.pop("steps_per_generation", 1)
    defaults = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 8 // minibatches,
        "gradient_accumulation_steps": 1,
        "generation_batch_size": 8,
        "num_generations": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_completion_length": 50,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    made = GRPOConfig(**defaults | values)
    assert made.steps_per_generation == minibatches
    return made


def groups(
    policy: Policy,
    adapter: contrail.Adapter,
    temperature: float = 1.0,
    environment: Callable[[], Rooms] = Rooms,
    count: int = 2,
    size: int = 4,
) -> list[list[Episode]]:
    """Episodes of `count` tasks, `size` of each."""
    jobs = [
        Job("rooms", task, adapter, generator(0, task.id, sample), sample)
        for task in Rooms().tasks("train")[:count]
        for sample in range(size)
    ]
    pool = EnvironmentPool({"rooms": environment})
    episodes = play(policy, pool, jobs, temperature=temperature)
    return [episodes[begin : begin + size] for begin in range(0, len(jobs), size)]


def flat(grouped: Sequence[Sequence[Episode]]) -> list[Episode]:
    return [episode for group in grouped for episode in group]


def some_advantages(count: int) -> torch.Tensor:
    """Of both signs, and one of zero."""
    values = torch.randn(count, generator=torch.Generator().manual_seed(5))
    values[1] = 0.0
    return values


def disturb(episodes: Sequence[Episode], scale: float = 0.3) -> None:
    """Make the recorded log-probabilities those of another policy."""
    rng = numpy.random.default_rng(7)
    for episode in episodes:
        for turn in episode.turns:
            noise = rng.normal(0, scale, len(turn.logprobs))
            turn.logprobs = [float(value) for value in turn.logprobs + noise]


def taken(policy: Policy) -> Gradients:
    """The gradients, which are set back to none."""
    found = {}
    for name, parameter in policy.model.named_parameters():
        if parameter.grad is not None:
            assert parameter.requires_grad
            found[name] = parameter.grad.clone()
            parameter.grad = None
    return found


def distance(found: Gradients, expected: Gradients) -> float:
    """Relative L2."""
    assert found.keys() == expected.keys()
    assert found
    difference = sum(float((found[name] - expected[name]).square().sum()) for name in found)
    size = sum(float(value.square().sum()) for value in expected.values())
    assert size > 1e-12
    return (difference / size) ** 0.5


def parameters(policy: Policy) -> Gradients:
    return {name: item.detach().clone() for name, item in policy.model.named_parameters()}


def set_parameters(policy: Policy, values: Gradients) -> None:
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            parameter.copy_(values[name])


def changed(policy: Policy, before: Gradients) -> set[str]:
    after = parameters(policy)
    return {name for name in after if not torch.equal(after[name], before[name])}


def rewarded(grouped: Sequence[Sequence[Episode]], rewards: Sequence[Sequence[float]]) -> None:
    for group, values in zip(grouped, rewards, strict=True):
        for episode, value in zip(group, values, strict=True):
            for turn in episode.turns:
                turn.reward = 0.0
            episode.turns[-1].reward = value


VARIED = [[0.0, 1.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.0]]


def needed_at_least(pack: Pack) -> int:
    """Tokens that the costliest turn of a pack's episodes needs if it is scored alone."""

    def alone(episode: Episode, turn: int) -> int:
        forest = Forest(TokenTree())
        forest.add([TurnSpan(episode, turn, turn + 1)])
        return forest.plan.size

    return max(
        alone(part.episode, turn) for part in pack.parts for turn in range(len(part.episode.turns))
    )
