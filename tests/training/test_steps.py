"""Which updates make an optimizer step, and what the step follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.seeding import generator

import torch  # isort: skip
from contrail.training.advantages import group_advantages  # isort: skip
from contrail.training.objective import Batch, Objective

from contrail.training.learner import Learner  # isort: skip

from learning import (
    VARIED,
    Make,
    changed,
    config,
    groups,
    parameters,
    rewarded,
    taken,
)  # isort: skip


def test_equal_rewards_are_exactly_no_advantage(make_tiny: Make) -> None:
    """The mean of 0.1, 0.1, 0.1 is not 0.1 in floating point."""
    grouped = [group[:3] for group in groups(make_tiny(), Choose())]
    rewarded(grouped, [[0.1] * 3, [0.7] * 3])
    for scale in ("group", "batch", "none"):
        assert group_advantages(grouped, scale) == [0.0] * 6


@pytest.mark.parametrize("steps", [{}, {"num_iterations": 2}, {"steps_per_generation": 2}])
def test_groups_without_variance_change_nothing(
    make_tiny: Make, tmp_path: Path, steps: dict[str, int]
) -> None:
    policy = make_tiny()
    trainer = Learner(policy, config(tmp_path, weight_decay=0.1, **steps))
    trainer.begin(3)
    grouped = groups(policy, Choose())
    rewarded(grouped, [[0.1] * 4, [0.7] * 4])
    before = parameters(policy)
    scalars = trainer.update(grouped, generator(0))
    assert not changed(policy, before)
    assert not taken(policy)
    assert scalars["zero_variance_groups"] == 1
    assert scalars["no_signal"] == 1
    assert scalars["skipped_steps"] == 1
    assert not {"gradient_norm", "loss"} & scalars.keys()
    # After an update that moved, its momentum does not move on.
    rewarded(grouped, VARIED)
    trainer.update(grouped, generator(0))
    assert changed(policy, before)
    before = parameters(policy)
    rewarded(grouped, [[0.1] * 4, [0.7] * 4])
    trainer.update(grouped, generator(0))
    assert not changed(policy, before)
    # One group without, one with: the gradient is the other group's.
    rewarded(grouped, [[0.1] * 4, VARIED[1]])
    scalars = trainer.update(grouped, generator(0))
    assert (scalars["zero_variance_groups"], scalars["skipped_steps"]) == (0.5, 0)
    assert scalars["no_signal"] == 0
    assert changed(policy, before)


@pytest.mark.parametrize(
    "adds",
    [{"entropy_coef": 0.01}, {"beta": 0.1}, {"use_adaptive_entropy": True, "entropy_target": 9.0}],
    ids=str,
)
@pytest.mark.parametrize("steps", [{}, {"num_iterations": 2}, {"steps_per_generation": 2}])
def test_without_variance_nothing_else_makes_a_step(
    make_tiny: Make, tmp_path: Path, adds: dict[str, Any], steps: dict[str, int]
) -> None:
    policy = make_tiny()
    settings = config(tmp_path, weight_decay=0.1, lr_scheduler_type="linear", **adds, **steps)
    trainer = Learner(policy, settings)
    trainer.begin(4)
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    trainer.update(grouped, generator(0))  # Adam has momentum now
    before = parameters(policy)
    rewarded(grouped, [[1.0] * 4, [0.0] * 4])
    computed = trainer.extra_tokens
    scalars = trainer.update(grouped, generator(1))
    assert not changed(policy, before)
    assert scalars["skipped_steps"] == 1
    assert not {"loss", "gradient_norm", "kl"} & scalars.keys()
    assert trainer.extra_tokens == computed  # no reference is computed for nothing
    # The schedule goes by updates, made or not.
    assert trainer.trl.lr_scheduler.get_last_lr()[0] == pytest.approx(1e-2 / 2)
    trainer.update([[]], generator(2))
    assert trainer.trl.lr_scheduler.get_last_lr()[0] == pytest.approx(1e-2 / 4)


def test_without_variance_a_step_follows_the_penalty_alone(make_tiny: Make, tmp_path: Path) -> None:
    """And a penalty without a gradient asks for no step."""
    grouped = groups(make_tiny(), Choose())
    rewarded(grouped, [[1.0] * 4, [0.0] * 4])
    name = next(iter(make_tiny().parameters))
    ends = []
    for entropy, slope in ((0.0, 1.0), (5.0, 1.0), (5.0, 0.0)):
        policy = make_tiny()
        trainer = Learner(policy, config(tmp_path, entropy_coef=entropy, beta=entropy))
        start = parameters(policy)

        def penalty(episodes: Any, rng: Any, policy: Policy = policy, slope: float = slope) -> Any:
            yield slope * policy.parameters[name].square().sum()

        trainer.penalty = penalty
        scalars = trainer.update(grouped, generator(0))
        assert changed(policy, start) == ({name} if slope else set())
        assert scalars["skipped_steps"] == (not slope)
        assert ("loss" in scalars) == bool(slope)
        ends.append(parameters(policy)[name])
    assert torch.equal(ends[0], ends[1])


def test_a_minibatch_without_advantages_makes_no_step(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Learner(policy, config(tmp_path, steps_per_generation=4, entropy_coef=0.1))
    grouped = groups(policy, Choose())
    rewarded(grouped, [[0.5] * 4, [0.0, 1.0, 0.0, 0.0]])
    seen = []
    gradients = trainer.gradients

    def watched(batch: Batch, *objective: Objective) -> float:
        seen.append(bool(batch.weights.any()))
        return gradients(batch, *objective)

    trainer.gradients = watched  # type: ignore[method-assign]
    skipped = [trainer.update(grouped, generator(n))["skipped_steps"] for n in range(6)]
    assert all(seen)
    assert len(seen) == sum(round(4 * (1 - value)) for value in skipped)
    assert max(skipped) > 0  # four varied episodes in four minibatches of two
