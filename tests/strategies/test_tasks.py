"""Which tasks strategies draw, and which episodes they keep."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from rooms import train

from contrail.environment import Task
from contrail.errors import ConfigError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React
from contrail.plugins.objectives.imitate import Imitate
from contrail.stage import Stage
from contrail.strategies.curriculum import Curriculum, CurriculumConfig
from contrail.strategies.mixture import Mixture, MixtureConfig
from contrail.strategies.replay import Replay, ReplayConfig, Reservoir

import torch  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.training.grpo import GRPO  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from stages import make_context, make_stage, tasks  # isort: skip
from learning import Make, config, flat, groups  # isort: skip


@pytest.fixture
def trainer(make_tiny: Make, tmp_path: Path) -> Learner:
    return Learner(make_tiny(), config(tmp_path))


def test_a_mixture_has_the_streams_proportions() -> None:
    strategy = Mixture()
    [mixed] = strategy.stages(
        [make_stage("a", tasks("a", 3), 30), make_stage("b", tasks("b", 99), 10)]
    )
    assert (mixed.updates, mixed.environments) == (40, ["a", "b"])
    drawn = strategy.draw(mixed, 0, 4000, numpy.random.default_rng(0))
    assert Counter(task.environment for task in drawn)["a"] == pytest.approx(3000, abs=120)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.8), (2.0, 2 / 3), (1e6, 0.5)])
def test_the_temperature_of_a_mixture(temperature: float, share: float) -> None:
    strategy = Mixture(MixtureConfig(weights={"a": 4, "b": 1}, temperature=temperature))
    [mixed] = strategy.stages([make_stage("a", tasks("a", 9)), make_stage("b", tasks("b", 9))])
    drawn = strategy.draw(mixed, 0, 4000, numpy.random.default_rng(0))
    assert Counter(task.environment for task in drawn)["a"] / 4000 == pytest.approx(share, abs=0.03)


def test_a_curriculum_opens_the_easiest_first() -> None:
    listed = [Task("a", str(n), n, "train", ("hard", "easy", "medium")[n % 3]) for n in range(12)]
    one = make_stage("a", listed, updates=8)
    strategy = Curriculum(CurriculumConfig(initial_competence=0.25, duration=0.5))
    strategy.enter(make_context(1, one), resumed=False)
    opened = [
        {task.difficulty for task in strategy.draw(one, n, 200, numpy.random.default_rng(n))}
        for n in range(8)
    ]
    assert opened[0] == {"easy"}
    assert opened[2] == {"easy", "medium"}
    assert opened[4:] == [{"easy", "medium", "hard"}] * 4


def test_a_curriculum_by_pass_rate_asks_the_base_model(trainer: Learner) -> None:
    listed = tasks("a", 4)
    one = make_stage("a", listed, updates=4)
    strategy = Curriculum(CurriculumConfig(by="pass_rate", samples=2, initial_competence=0.25))
    fresh = trainer.policy.snapshot()
    strategy.begin(trainer, [one])
    train(trainer.policy, 0.5)
    wins = {"a/0": 1, "a/1": 0, "a/2": 2, "a/3": 1}

    def rollout(asked: list[Task], samples: int, *draw: str) -> list[list[Episode]]:
        now = trainer.policy.snapshot()
        assert all(torch.equal(now[name], fresh[name]) for name in fresh)
        return [
            [Episode("a", task, n, success=n < wins[task.id]) for n in range(samples)]
            for task in asked
        ]

    strategy.enter(make_context(1, one, trainer, play=rollout), resumed=False)
    assert {task.id for task in strategy.draw(one, 0, 9, numpy.random.default_rng(0))} == {"a/2"}
    again = Curriculum(strategy.config)
    again.begin(trainer, [one])
    again.load_state_dict(strategy.state_dict())
    again.enter(make_context(1, one, trainer), resumed=True)  # plays nothing
    assert again.draw(one, 0, 9, numpy.random.default_rng(0)) == (
        strategy.draw(one, 0, 9, numpy.random.default_rng(0))
    )


def replaying(mode: Any, **values: Any) -> tuple[Replay, Stage]:
    """A replay in its third stage, after two others."""
    strategy = Replay(ReplayConfig(mode=mode, **values))
    stages = [make_stage(name, tasks(name, 40)) for name in "abc"]
    strategy.begin(SimpleNamespace(), stages)  # type: ignore[arg-type]
    strategy.enter(make_context(3, stages[2]), resumed=False)
    return strategy, stages[2]


def test_replay_shares_its_fraction_among_the_old() -> None:
    strategy, now = replaying("tasks", fraction=0.5, buffer=20)
    seen: dict[str, set[str]] = {"a": set(), "b": set(), "c": set()}
    for update in range(60):
        drawn = strategy.draw(now, update, 8, numpy.random.default_rng(update))
        assert Counter(task.environment for task in drawn) == {"c": 4, "a": 2, "b": 2}
        for task in drawn:
            seen[task.environment].add(task.id)
    assert [len(seen[name]) for name in "abc"] == [10, 10, 40]  # the buffer is 20 in all


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 4), (0.5, 1), (0.3, 3)])
def test_the_fraction_is_exact_on_average(fraction: float, count: int) -> None:
    strategy, now = replaying("tasks", fraction=fraction)
    rng = numpy.random.default_rng(0)
    drawn = [task for update in range(2000) for task in strategy.draw(now, update, count, rng)]
    old = sum(task.environment != "c" for task in drawn)
    assert len(drawn) == 2000 * count
    assert old / len(drawn) == pytest.approx(fraction, rel=0.1)


def test_a_buffer_smaller_than_its_environments() -> None:
    strategy, now = replaying("tasks", fraction=0.5, buffer=1)
    drawn = [
        task for n in range(9) for task in strategy.draw(now, n, 4, numpy.random.default_rng(n))
    ]
    assert len({task.id for task in drawn if task.environment != "c"}) == 1


def test_old_stages_may_have_been_learnt_in_different_ways() -> None:
    """By other objectives and through other adapters: each task is there once."""
    first = Stage("a", {"a": tasks("a", 4)}, {"a": Choose()}, 1, Imitate())
    second = Stage("a", {"a": tasks("a", 6)}, {"a": React()}, 1, GRPO())
    now = make_stage("b", tasks("b", 4))
    strategy = Replay(ReplayConfig(fraction=0.5))
    strategy.begin(SimpleNamespace(), [first, second, now])  # type: ignore[arg-type]
    strategy.enter(make_context(3, now), resumed=False)
    drawn = strategy.draw(now, 0, 12, numpy.random.default_rng(0))
    old = [task.id for task in drawn if task.environment == "a"]
    assert sorted(old) == [f"a/{number}" for number in range(6)]


def test_mastery_prefers_what_has_been_lost() -> None:
    strategy, now = replaying("mastery", fraction=0.5)

    def play(task: str, success: bool) -> None:
        environment = task[0]
        played = Episode(environment, Task(environment, task, 0, "train"), 0, success=success)
        strategy.observe(now, [played], numpy.random.default_rng(0))

    for task in ("a/1", "a/2"):
        play(task, True)
    play("a/1", False)
    again = Replay(strategy.config)
    again.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    assert again.state_dict() == strategy.state_dict()
    drawn = Counter(
        task.id
        for update in range(400)
        for task in strategy.draw(now, update, 4, numpy.random.default_rng(update))
        if task.environment == "a"
    )
    assert drawn["a/1"] > 5 * drawn["a/2"] > 0


def test_the_reservoir_is_bounded_balanced_and_uniform() -> None:
    kept: Counter[int] = Counter()
    for seed in range(300):
        rng = numpy.random.default_rng(seed)
        reservoir = Reservoir(8)
        for n in range(40):
            reservoir.add([Episode("a", Task("a", str(n), n, "train"), 0)], rng)
        assert len(reservoir.state_dict()["a"]) == 8
        reservoir.add([Episode("b", Task("b", str(n), n, "train"), 0) for n in range(9)], rng)
        state = reservoir.state_dict()
        assert [len(state[name]) for name in "ab"] == [4, 4]
        kept.update(values["task"]["seed"] for _, values in state["a"])
    first, last = (sum(kept[n] for n in part) for part in (range(20), range(20, 40)))
    assert first == pytest.approx(last, rel=0.15)  # neither the old nor the new are preferred


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
def test_the_reservoir_is_full_and_no_more(size: int) -> None:
    reservoir, rng = Reservoir(size), numpy.random.default_rng(0)
    for count, name in enumerate("abcd", start=1):
        reservoir.add([Episode(name, Task(name, str(n), n, "train"), 0) for n in range(20)], rng)
        kept = [len(episodes) for episodes in reservoir.state_dict().values()]
        assert sum(kept) == size
        assert max(kept) - min(kept) <= 1
        assert len(kept) == count


def test_the_reservoir_comes_back_from_json(make_tiny: Make) -> None:
    episodes = flat(groups(make_tiny(), Choose()))
    reservoir, again = Reservoir(8), Reservoir(8)
    reservoir.add(episodes, numpy.random.default_rng(0))
    again.load_state_dict(json.loads(json.dumps(reservoir.state_dict())))
    drawn = [item.sample(["rooms"], 3, numpy.random.default_rng(1)) for item in (reservoir, again)]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 3


def test_stored_successes_become_likelier(trainer: Learner) -> None:
    strategy, _ = replaying("episodes", fraction=1.0)
    rng = numpy.random.default_rng(0)
    episodes = flat(groups(trainer.policy, Choose()))
    for episode in episodes:
        episode.environment, episode.success = "a", True
    strategy.observe(make_stage("a", []), episodes, rng)

    def likelihood() -> float:
        with torch.no_grad():
            parts = [scores for part in trainer.score(episodes) for scores in part]
        return sum(float(scores.logprobs.sum()) for scores in parts)

    before = likelihood()
    terms = list(strategy.penalty(trainer, episodes, rng))
    decisions = sum(len(item.logprobs) for item in episodes)
    total = sum(float(term.detach()) for term in terms)
    assert total == pytest.approx(-before / decisions, rel=1e-4)
    sum(terms).backward()  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in trainer.policy.parameters.values():
            assert parameter.grad is not None
            parameter -= 1e-3 * parameter.grad
    assert likelihood() > before


def test_a_curriculum_names_the_unknown_label() -> None:
    strategy = Curriculum()
    with pytest.raises(ConfigError, match="'a/0' of 'a' has the difficulty 'odd'"):
        strategy.begin(
            SimpleNamespace(policy=SimpleNamespace(snapshot=dict)),  # type: ignore[arg-type]
            [make_stage("a", tasks("a", 2, "odd"))],
        )
