"""Environments count in the loss by their shares of the episodes, however long their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from contrail.environment import Task
from contrail.plugins.adapters.choose import Choose
from contrail.strategies.cumulative import Cumulative, CumulativeConfig
from contrail.strategies.mixture import Mixture, MixtureConfig
from contrail.strategies.replay import Replay, ReplayConfig
from contrail.training.advantages import environment_weights, group_scalars

import torch  # isort: skip
from contrail.training.decisions import Decisions  # isort: skip
from contrail.episode import Episode, Turn  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from stages import make_stage, tasks  # isort: skip
from learning import Make, config, groups, taken  # isort: skip

LOSSES: list[dict[str, Any]] = [
    *[
        {"loss_type": name}
        for name in ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "vespo")
    ],
    {"loss_type": "luspo", "importance_sampling_level": "sequence"},
]


def episode(environment: str, decisions: int, reward: float) -> Episode:
    turn = Turn([1], [2] * decisions, [-1.0] * decisions, [1.0] * decisions, reward=reward)
    return Episode(environment, Task(environment, "0", 0, "train"), 0, [turn])


# Six of eight episodes are of `short`: 3 to 1, as of the weights of a mixture.
BATCH = [[episode("short", 4, n % 2) for n in range(6)], [episode("long", 40, n) for n in range(2)]]


def shares(trainer: Learner, grouped: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """Of each environment in the sum of the absolute gradients at the decisions.

    All advantages are 1 but for the weights, so that nothing but these matters.
    """
    episodes = [item for group in grouped for item in group]
    steps = trainer.config.steps_per_generation
    assert steps
    order = numpy.random.default_rng(0).permutation(len(episodes))
    minibatches = [sorted(part.tolist()) for part in numpy.array_split(order, steps)]
    found: dict[str, float] = {}
    for indices, factors in zip(
        minibatches, trainer.objective.weights(trainer, grouped, minibatches), strict=True
    ):
        own = [episodes[index] for index in indices]
        recorded = Decisions.of(own, torch.device("cpu"))
        recorded.logprobs.requires_grad_()
        total = torch.tensor(float(sum(len(item.logprobs) for item in episodes)))
        loss = trainer.trl.loss(recorded, factors, None, None, total, final=True)
        [gradient] = torch.autograd.grad(loss, recorded.logprobs)
        for item, row in zip(own, gradient, strict=True):
            found[item.environment] = found.get(item.environment, 0) + float(row.abs().sum())
    return {name: value / sum(found.values()) for name, value in found.items()}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_an_environment_counts_by_its_episodes(
    make_tiny: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loss: dict[str, Any],
    steps: int,
) -> None:
    """The gradients are shared 3 to 1, with answers ten times as long; without weights 3 to 10."""
    monkeypatch.setattr(
        "contrail.training.advantages.group_advantages", lambda groups, scale: [1.0] * 8
    )
    trainer = Learner(make_tiny(), config(tmp_path, steps_per_generation=steps, **loss))
    # BNPO divides by the decisions of each minibatch: there the shares are each minibatch's.
    assert shares(trainer, BATCH)["short"] == pytest.approx(0.75, abs=1e-4)
    trainer.by_environment = False
    plain = shares(trainer, BATCH)["short"]
    if loss["loss_type"] in ("grpo", "sapo"):
        assert plain == pytest.approx(0.75, abs=1e-4)
    elif steps == 1:
        assert plain == pytest.approx(24 / 104, abs=1e-4)
    else:
        assert plain < 0.5


def test_one_environment_is_not_weighed(make_tiny: Make) -> None:
    assert environment_weights(BATCH[0]) == [1.0] * 6
    weights = environment_weights([*BATCH[0], *BATCH[1]])
    assert weights == pytest.approx([13 / 4] * 6 + [13 / 40] * 2)


def test_an_update_uses_the_weights(make_tiny: Make, tmp_path: Path) -> None:
    """Its gradient is the sum of those of the environments alone, times their shares."""
    policy = make_tiny()
    grouped = groups(policy, Choose(), count=4)[2:]
    for name, group in zip(("a", "b"), grouped, strict=True):
        for place, item in enumerate(group):
            item.environment = name
            item.turns[-1].reward += 3.0 * (place == 0)
    for item in grouped[1]:  # of one decision each; those of the others are as they were
        del item.turns[1:]
    grouped[1][0].turns[0].reward = 1.0
    assert sum(len(item.logprobs) for item in grouped[0]) > 4
    assert len({item.turns[0].choice for item in grouped[1]}) > 1
    trainer = Learner(policy, config(tmp_path, max_grad_norm=1e9, learning_rate=0.0))
    policy.model.train()
    found = []
    for batch in (grouped, grouped[:1], grouped[1:]):
        trainer.update(batch, numpy.random.default_rng(0))
        found.append(taken(policy))
    both, first, second = found
    for name, gradient in both.items():
        torch.testing.assert_close(
            gradient, 0.5 * first[name] + 0.5 * second[name], rtol=1e-3, atol=1e-6
        )


def test_shares_are_logged() -> None:
    scalars = group_scalars(BATCH)
    assert scalars["share_of_episodes/short"] == 0.75
    assert scalars["share_of_decisions/short"] == pytest.approx(24 / 104)
    assert scalars["share_of_episodes/long"] == 0.25
    assert scalars["share_of_decisions/long"] == pytest.approx(80 / 104)


@pytest.mark.parametrize("normalize", [True, False])
def test_strategies_say_so(make_tiny: Make, tmp_path: Path, normalize: bool) -> None:
    trainer = Learner(make_tiny(), config(tmp_path))
    stages = [make_stage("a", tasks("a", 3)), make_stage("b", tasks("b", 3))]
    for made in (
        Mixture(MixtureConfig(normalize=normalize)),
        Cumulative(CumulativeConfig(normalize=normalize)),
        Replay(ReplayConfig(normalize=normalize)),
    ):
        trainer.by_environment = not normalize
        made.begin(trainer, stages)
        assert trainer.by_environment == normalize


def test_stored_successes_count_by_environment(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    trainer = Learner(policy, config(tmp_path))
    long, short = groups(policy, Choose(), count=2)
    for item in short:
        del item.turns[1:]
    for name, group in (("a", long), ("b", short)):
        for item in group:
            item.environment, item.success = name, True
    assert sum(len(item.logprobs) for item in long) > 4
    for normalize in (True, False):
        strategy = Replay(ReplayConfig(mode="episodes", fraction=1.0, normalize=normalize))
        strategy._old = ["a", "b"]
        rng = numpy.random.default_rng(0)
        strategy.observe(make_stage("c", []), [*long, *short], rng)
        terms = strategy.penalty(trainer, [*long, *short], rng)
        found = sum(float(term.detach()) for term in terms)
        with torch.no_grad():
            means = []
            for group in (long, short):
                parts = [scores for part in trainer.score(group) for scores in part]
                means.append(torch.cat([scores.logprobs for scores in parts]))
        every = torch.cat(means).mean()
        balanced = 0.5 * means[0].mean() + 0.5 * means[1].mean()
        assert float(abs(every - balanced)) > 1e-2
        assert found == pytest.approx(-float(balanced if normalize else every), rel=1e-3)
