"""The strategy `distill`: what its update is made of, and whom it takes for teachers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
from rooms import train
from stages import make_context, make_stage, tasks

import contrail
from contrail.plugins.adapters.choose import Choose
from contrail.stage import Stage
from contrail.strategies.distill import Beside, Distill, DistillConfig, Teaching

import torch  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip
from learning import EXACT, Make, config, distance, flat, groups, rewarded, taken, VARIED  # isort: skip


@pytest.fixture
def learner(make_tiny: Make, tmp_path: Path) -> Learner:
    return Learner(make_tiny(), config(tmp_path, entropy_coef=0.05, beta=0.04))


def entered(learner: Learner, **settings: Any) -> Distill:
    """In the second stage, with a policy that has moved since the first."""
    stages = [make_stage("old", tasks("old", 6)), make_stage("new", tasks("new", 6))]
    strategy = Distill(DistillConfig(**settings))
    strategy.begin(learner, stages)
    strategy.enter(make_context(1, stages[0], learner), resumed=False)
    assert not strategy.state_dict()
    strategy.enter(make_context(2, stages[1], learner), resumed=False)
    train(learner.policy, 0.12)
    return strategy


def played(learner: Learner) -> tuple[list[list[Episode]], list[list[Episode]]]:
    new, old = groups(learner.policy, Choose(), count=2)
    rewarded([new, old], VARIED)
    for episode in old:
        episode.environment = "old"
    return [new], [old]


@pytest.mark.parametrize("kind", [contrail.GRPO, contrail.GiGPO])  # a weight per decision
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_update_is_the_shares_of_both(
    learner: Learner, weight: float, kind: type[contrail.GRPO]
) -> None:
    strategy = entered(learner, weight=weight)
    own, teaching = kind(), Teaching(strategy)
    both = Beside(own, strategy)
    learner.begin(1, both)
    new, old = played(learner)
    del new[0][-1]  # three of seven episodes are new

    def step(objective: contrail.Objective, grouped: list[list[Episode]]) -> Any:
        episodes = flat(grouped)
        [weights] = objective.weights(learner, grouped, [list(range(len(episodes)))])
        loss = objective.backward(learner, Batch.of(episodes, weights))
        return loss, taken(learner.policy)

    (one, of_new), (other, of_old) = step(own, new), step(teaching, old)
    loss, found = step(both, [*new, *old])
    assert loss == pytest.approx(3 / 7 * one + 4 / 7 * weight * other, rel=1e-4)
    expected = {name: 3 / 7 * of_new[name] + 4 / 7 * weight * of_old[name] for name in of_new}
    assert distance(found, expected) < EXACT
    # Alone, each is what it would be without the other.
    assert step(both, new)[0] == one
    assert step(both, old)[0] == pytest.approx(weight * other, rel=1e-5)
    # New episodes without a difference in rewards leave the gradient to the teachers.
    rewarded(new, [[0.0] * 3])
    _, found = step(both, [*new, *old])
    assert distance(found, {name: 4 / 7 * weight * of_old[name] for name in found}) < EXACT


def test_minibatches_keep_the_order_of_episodes(learner: Learner) -> None:
    strategy = entered(learner)
    new, old = played(learner)
    both = Beside(contrail.GRPO(), strategy)
    parts = [[1, 4, 6], [0, 2, 7], [3, 5]]
    found = both.weights(learner, [*new, *old], parts)
    [whole] = contrail.GRPO().weights(learner, new, [[0, 1, 2, 3]])
    for weights, part in zip(found, parts, strict=True):
        expected = [float(whole[index]) if index < 4 else 1.0 for index in part]
        assert weights.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", [contrail.GRPO, contrail.GiGPO])
def test_an_objective_is_asked_for_no_minibatch_without_new_episodes(
    learner: Learner, kind: type[contrail.GRPO]
) -> None:
    class Asked(kind):  # type: ignore[misc,valid-type]
        def weights(self, learner: Any, groups: Any, minibatches: Any) -> Any:
            assert all(minibatches)
            return super().weights(learner, groups, minibatches)

    strategy = entered(learner)
    new, old = played(learner)
    both = Beside(Asked(), strategy)
    taught, mixed, also = both.weights(learner, [*new, *old], [[4, 5], [0, 1, 2, 3, 6], [7]])
    assert taught.tolist() == [1.0, 1.0]
    assert also.tolist() == [1.0]
    [whole] = kind().weights(learner, new, [[0, 1, 2, 3]])
    rows = whole.reshape(4, -1)
    assert torch.equal(mixed[:4].reshape(4, -1)[:, : rows.shape[1]], rows)


def test_teachers_are_the_policies_after_the_stages(learner: Learner) -> None:
    listed = {name: tasks(name, 6) for name in "abc"}
    stages = [
        make_stage("a", listed["a"]),
        make_stage("b", listed["b"], updates=0),
        Stage("c", {"c": listed["c"], "a": listed["a"][:2]}, {}, 5),
        make_stage("b", listed["b"]),
    ]
    strategy = Distill(DistillConfig(fraction=0.5))
    strategy.begin(learner, stages)
    after = []
    for number, stage in enumerate(stages, start=1):
        strategy.enter(make_context(number, stage, learner), resumed=False)
        assert set(strategy.teachers) == [set(), {"a"}, set(), {"a", "c"}][number - 1]
        train(learner.policy, 0.05 * number)
        after.append(learner.policy.snapshot())
    for name, index in (("a", 2), ("c", 2)):
        for key, value in strategy.snapshots[name].items():
            assert torch.equal(value, after[index][key])
    # An interrupted run takes up the snapshots, not the policy of the moment.
    again = Distill(DistillConfig(fraction=0.5))
    again.begin(learner, stages)
    again.load_state_dict(strategy.state_dict())
    again.enter(make_context(4, stages[3], learner), resumed=True)
    assert set(again.teachers) == {"a", "c"}
    counts: Counter[str] = Counter()
    for update in range(200):
        drawn = again.draw(stages[3], update, 5, numpy.random.default_rng(update))
        assert len(drawn) == 5
        counts.update(task.environment for task in drawn)
    assert counts["b"] == pytest.approx(500, abs=40)
    assert counts["a"] == pytest.approx(counts["c"], abs=40)


def test_old_and_new_tasks_are_played_in_one_rollout(learner: Learner) -> None:
    strategy = entered(learner)
    asked: list[list[str]] = []

    class Play:
        def __call__(self, tasks: Any, samples: int) -> list[list[Episode]]:
            asked.append([task.id for task in tasks])
            return [[Episode(task.environment, task, n) for n in range(samples)] for task in tasks]

        def demonstrations(self, tasks: Any, scripts: Any = None) -> list[Episode]:
            return [Episode(task.environment, task, 0) for task in tasks]

    new, old = tasks("new", 2), tasks("old", 1)
    found = Beside(contrail.GRPO(), strategy).episodes(learner, [old[0], *new], Play())
    assert asked == [["new/0", "new/1", "old/0"]]
    assert [group[0].task for group in found] == [*new, *old]
    assert [len(group) for group in found] == [4, 4, 4]
    asked.clear()

    class Shown(contrail.GRPO):
        def episodes(self, learner: Any, tasks: Any, play: Any) -> list[list[Episode]]:
            return [[one] for one in play.demonstrations(tasks)]

    found = Beside(Shown(), strategy).episodes(learner, [old[0], *new], Play())
    assert asked == [["old/0"]]
    assert [len(group) for group in found] == [1, 1, 4]
