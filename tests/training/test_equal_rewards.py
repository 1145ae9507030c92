"""Rewards that are equal on paper and not in floats: nothing is learnt from the difference."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy
import pytest

from contrail.environment import Task
from contrail.episode import Episode, Turn
from contrail.plugins.adapters.choose import Choose
from contrail.seeding import generator
from contrail.training.advantages import group_advantages, group_scalars, step_advantages

from contrail.training.learner import Learner  # isort: skip
from learning import VARIED, Make, changed, config, groups, parameters, rewarded  # isort: skip

SINGLE = [float(numpy.float32(value)) for value in (0.1, 0.2, 0.3)]
EQUAL = [
    [[0.9, -0.1, -0.1], [-0.1, -0.1, 0.9]],  # the same penalties, solved at different turns
    [[0.1, 0.2], [0.3]],
    [SINGLE[:2], SINGLE[2:]],
    [[0.1, 0.1, 0.1, -0.3], [0.0]],
    [[1e6, 0.1, 0.2], [1e6, 0.3]],
]


def group_of(rewards: Sequence[Sequence[float]]) -> list[Episode]:
    task = Task("room", "1", 1, "train")
    return [
        Episode("room", task, sample, [Turn([], [], [], [], reward=value) for value in values])
        for sample, values in enumerate(rewards)
    ]


def only_first(episode: Episode) -> list[Hashable]:
    """Anchors by which the first turns are compared, and no others."""
    return ["start", *((episode.sample, turn) for turn in range(1, len(episode.turns)))]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("rewards", EQUAL)
def test_they_have_no_advantages(rewards: list[list[float]], scale: str) -> None:
    group = group_of(rewards)
    assert group_advantages([group], scale) == [0, 0]
    steps = step_advantages([group], only_first, 1.0, scale)
    assert [values[0] for values in steps] == [0, 0]
    assert group_scalars([group])["zero_variance_groups"] == 1
    group[0].turns[0].reward *= 1.01
    assert group_advantages([group], scale)[0] != 0
    assert group_scalars([group])["zero_variance_groups"] == 0


def test_a_reward_does_not_depend_on_the_order_of_its_turns() -> None:
    first, second = group_of(EQUAL[0])
    assert first.reward == second.reward
    assert first.training_reward == second.training_reward


def test_an_update_of_them_leaves_the_weights(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    learner = Learner(policy, config(tmp_path))
    grouped = groups(policy, Choose())
    rewarded(grouped, VARIED)
    learner.update(grouped, generator(0))  # so Adam's moments are those of a real update
    for group in grouped:
        for episode in group:
            episode.turns = [episode.turns[0]] * 3
            for turn in episode.turns:
                turn.reward, turn.penalty = 1 / 3, 0.0
        group[0].turns[0].reward += 1e-9
    before = parameters(policy)
    scalars = learner.update(grouped, generator(0))
    assert not changed(policy, before)
    assert scalars["zero_variance_groups"] == 1
    assert "penalty_only_groups" not in scalars
