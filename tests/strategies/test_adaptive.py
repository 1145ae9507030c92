"""Strategies that follow success: what they draw is what their formulas say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import pytest

from contrail.environment import Task
from contrail.stage import Stage
from contrail.strategies.balanced import Balanced, BalancedConfig
from contrail.strategies.mixture import Mixture
from contrail.strategies.progress import Progress, ProgressConfig
from contrail.strategies.review import Review, ReviewConfig
from contrail.strategy import Strategy

from contrail.episode import Episode  # isort: skip
from stages import make_stage, tasks  # isort: skip


def rng(*seed: int) -> numpy.random.Generator:
    return numpy.random.default_rng(seed)


def played(task: Task, success: bool, fault: str | None = None) -> Episode:
    return Episode(task.environment, task, 0, success=success, fault=fault)


def seen(stage: Stage, **success: float) -> list[Episode]:
    """Ten episodes of each named environment, with this mean success."""
    return [
        played(stage.tasks[name][0], n < round(10 * mean))
        for name, mean in success.items()
        for n in range(10)
    ]


def simulate(
    strategy: Strategy, stage: Stage, updates: int, chance: Callable[[str, int], float], seed: int
) -> Counter[str]:
    """Updates of a policy that learns nothing; how often each environment was drawn."""
    drawn: Counter[str] = Counter()
    for update in range(updates):
        picked = strategy.draw(stage, update, 8, rng(seed, update))
        drawn.update(task.environment for task in picked)
        dice = rng(seed, update, 1)
        episodes = [
            played(task, dice.random() < chance(task.environment, update))
            for task in picked
            for _ in range(4)
        ]
        strategy.observe(stage, episodes, dice)
    return drawn


def again(strategy: Strategy, other: Any) -> Any:
    """Another strategy, with the state of the first as a checkpoint has it."""
    state = json.loads(json.dumps(strategy.state_dict()))
    if state:
        other.load_state_dict(state)
    return other


def balanced(**settings: Any) -> tuple[Balanced, Stage]:
    strategy = Balanced(BalancedConfig(**settings))
    [stage] = strategy.stages([make_stage(name, tasks(name, 40)) for name in "ab"])
    return strategy, stage


def share(drawn: Sequence[Task], name: str) -> float:
    return sum(task.environment == name for task in drawn) / len(drawn)


# balanced


def test_balanced_follows_success_and_its_change() -> None:
    strategy, stage = balanced(rate=2.0, level=0.5, decay=0.5, floor=0.2)
    strategy.observe(stage, seen(stage, a=0.8, b=0.2), rng(0))
    # The first time nothing has changed. Logits: -2 * 0.5 * 0.8 and -2 * 0.5 * 0.2.
    weights = numpy.exp([-0.8, -0.2])
    assert strategy.shares()["a"] == pytest.approx(0.1 + 0.8 * weights[0] / weights.sum())
    strategy.observe(stage, seen(stage, b=1.0), rng(0))
    # b's mean rises from 0.2 to 0.6; a's is what it was, and counts.
    weights = numpy.exp([-0.8 - 0.8, -0.2 - 2 * (0.4 + 0.5 * 0.6)])
    expected = 0.1 + 0.8 * weights[0] / weights.sum()
    assert strategy.shares()["a"] == pytest.approx(expected)
    drawn = strategy.draw(stage, 2, 4000, rng(1))
    deviation = (expected * (1 - expected) / 4000) ** 0.5
    assert share(drawn, "a") == pytest.approx(expected, abs=4 * deviation)


def test_balanced_at_rate_nought_is_the_mixture() -> None:
    strategy, stage = balanced(rate=0.0)
    mixture = Mixture()
    [mixed] = mixture.stages([make_stage(name, tasks(name, 40)) for name in "ab"])
    strategy.observe(stage, seen(stage, a=1.0, b=0.0), rng(0))
    for seed in range(5):
        assert strategy.draw(stage, 1, 16, rng(seed)) == mixture.draw(mixed, 1, 16, rng(seed))
    assert sum(strategy.shares().values()) == pytest.approx(1)


def test_balanced_prefers_neither_of_two_alike() -> None:
    found = []
    for seed in range(200):
        strategy, stage = balanced()
        drawn = simulate(strategy, stage, 20, lambda name, update: 0.5, seed)
        found.append(drawn["a"] / drawn.total())
    assert numpy.mean(found) == pytest.approx(0.5, abs=4 * numpy.std(found) / 200**0.5)
    # The dice of 640 episodes move the shares by little more than the draws themselves do.
    assert numpy.std(found) < 3 * (0.25 / 160) ** 0.5


def test_balanced_turns_to_the_weak_and_to_the_stagnant() -> None:
    strategy, stage = balanced(floor=0.1)
    simulate(strategy, stage, 60, lambda name, update: 0.9 if name == "a" else 0.1, 0)
    assert strategy.shares()["b"] > 0.9
    assert strategy.shares()["a"] >= 0.05 - 1e-9  # the floor: half of a tenth
    strategy, stage = balanced(level=0.0)  # improvement alone
    simulate(strategy, stage, 20, lambda name, n: n / 20 if name == "a" else 0.5, 0)
    assert strategy.shares()["b"] > 0.6


# progress


def test_progress_is_the_absolute_change_of_success() -> None:
    strategy = Progress(ProgressConfig(decay=0.5, floor=0.2))
    stage = Stage.union("all", [make_stage(name, tasks(name, 40)) for name in "abc"], 9)
    assert strategy.shares("abc") == pytest.approx(dict.fromkeys("abc", 1 / 3))
    strategy.observe(stage, seen(stage, a=0.5, b=0.9), rng(0))
    strategy.observe(stage, seen(stage, a=0.7, b=0.1), rng(0))
    # a: 0.5 * 0.2; b is being forgotten: 0.5 * -0.8; nothing is known of c: 1.
    expected = {"a": 0.1, "b": 0.4, "c": 1.0}
    expected = {name: 0.2 / 3 + 0.8 * value / 1.5 for name, value in expected.items()}
    assert strategy.shares("abc") == pytest.approx(expected)
    drawn = strategy.draw(stage, 2, 4000, rng(1))
    deviation = (0.25 / 4000) ** 0.5
    for name, value in expected.items():
        assert share(drawn, name) == pytest.approx(value, abs=4 * deviation)
    strategy.observe(stage, seen(stage, a=0.7, b=0.6), rng(0))
    assert strategy.shares("ab")["b"] == pytest.approx(0.1 + 0.8 * 0.05 / 0.1)


def test_without_progress_draws_are_even() -> None:
    strategy = Progress(ProgressConfig(floor=0.0))
    stage = Stage.union("all", [make_stage(name, tasks(name, 40)) for name in "ab"], 9)
    for _ in range(3):
        strategy.observe(stage, seen(stage, a=1.0, b=0.0), rng(0))
    assert strategy.shares("ab") == {"a": 0.5, "b": 0.5}


def test_progress_prefers_neither_of_two_alike() -> None:
    found = []
    for seed in range(200):
        strategy = Progress()
        stage = Stage.union("all", [make_stage(name, tasks(name, 40)) for name in "ab"], 9)
        drawn = simulate(strategy, stage, 20, lambda name, update: 0.5, seed)
        found.append(drawn["a"] / drawn.total())
    assert numpy.mean(found) == pytest.approx(0.5, abs=4 * numpy.std(found) / 200**0.5)


def test_progress_tells_difficulties_apart() -> None:
    strategy = Progress(ProgressConfig(difficulties=True, decay=0.0, floor=0.0))
    stage = make_stage("a", [*tasks("a", 9, "easy"), *tasks("a", 9, "hard")])
    easy, hard = stage.tasks["a"][0], stage.tasks["a"][-1]
    for success in (False, True):
        strategy.observe(stage, [played(easy, True), played(hard, success)], rng(0))
    drawn = strategy.draw(stage, 2, 8, rng(0))
    assert {task.difficulty for task in drawn} == {"hard"}


# review


def review(stage: Stage, **settings: Any) -> Review:
    strategy = Review(ReviewConfig(**settings))
    strategy.begin(None, [stage])  # type: ignore[arg-type]
    return strategy


def due(strategy: Review, stage: Stage) -> set[str]:
    """The tasks of a draw of which all may be reviewed and none else is."""
    other = make_stage("other", tasks("other", 99))
    return {task.id for task in strategy.draw(other, 0, 50, rng(0)) if task.environment != "other"}


def test_mastered_tasks_come_due_at_growing_intervals() -> None:
    stage = make_stage("a", tasks("a", 9))
    task = stage.tasks["a"][3]
    strategy = review(stage, fraction=1.0, interval=2, spacing=2)
    strategy.observe(stage, [played(task, True)] * 4, rng(0))
    times = []
    for update in range(1, 40):
        if due(strategy, stage):
            assert due(strategy, stage) == {task.id}
            times.append(update)
            strategy.observe(stage, [played(task, True)] * 4, rng(0))
        else:
            strategy.observe(stage, [], rng(0))
    assert times == [2, 6, 14, 30]  # after 2, 4, 8, 16


def test_a_lost_task_is_due_until_it_is_mastered_again() -> None:
    stage = make_stage("a", tasks("a", 9))
    one, other = stage.tasks["a"][:2]
    strategy = review(stage, fraction=1.0, interval=3)
    strategy.observe(
        stage, [*[played(one, True)] * 4, played(other, True), played(other, False)], rng(0)
    )
    assert not due(strategy, stage)  # one in three updates; the other was never mastered
    for _ in range(3):
        strategy.observe(stage, [played(one, True), played(one, False)], rng(0))
        assert due(strategy, stage) == {one.id}
    strategy.observe(stage, [played(one, True)] * 4, rng(0))
    found = []
    for _ in range(3):
        found.append(bool(due(strategy, stage)))
        strategy.observe(stage, [], rng(0))
    assert found == [False, False, True]
    # What has failed the environment says nothing.
    strategy.observe(stage, [played(one, False, fault="it broke")], rng(0))
    assert strategy.state_dict()["schedule"]["a"][one.id][1] == 3


def test_a_task_that_is_drawn_before_it_is_due_waits_no_longer_interval() -> None:
    stage = make_stage("a", tasks("a", 9))
    task = stage.tasks["a"][0]
    strategy = review(stage, interval=4)
    for _ in range(3):
        strategy.observe(stage, [played(task, True)] * 4, rng(0))
    assert strategy.state_dict()["schedule"]["a"][task.id] == [2 + 4, 4]


def test_the_longest_due_come_first_and_only_a_fraction() -> None:
    stage = make_stage("a", tasks("a", 30))
    strategy = review(stage, fraction=0.3, interval=1)
    for begin in (0, 10, 20):
        episodes = [played(task, True) for task in stage.tasks["a"][begin : begin + 10]]
        strategy.observe(stage, episodes, rng(0))
    new = make_stage("b", tasks("b", 30))
    draws = [strategy.draw(new, 0, 20, rng(seed)) for seed in range(40)]
    numbers = [[task.seed for task in drawn if task.environment == "a"] for drawn in draws]
    assert all(len(drawn) == 6 for drawn in numbers)
    picked = Counter(number for drawn in numbers for number in drawn)
    assert set(picked) == set(range(10))  # any of those due since the same update
    assert max(picked.values()) <= 24 + 4 * (40 * 0.24) ** 0.5
    lost = stage.tasks["a"][25]
    strategy.observe(stage, [played(lost, False)], rng(0))
    assert lost not in strategy.draw(new, 0, 20, rng(0))  # it waits behind what is due longer


def test_a_fraction_of_less_than_a_task_reviews_one_now_and_then() -> None:
    stage = make_stage("a", tasks("a", 60))
    strategy = review(stage, fraction=0.2, interval=1)
    strategy.observe(stage, [played(task, True) for task in stage.tasks["a"]], rng(0))
    new = make_stage("b", tasks("b", 30))
    draws = [strategy.draw(new, 0, 4, rng(seed)) for seed in range(400)]
    numbers = [sum(task.environment == "a" for task in drawn) for drawn in draws]
    assert set(numbers) == {0, 1}
    assert sum(numbers) / 400 == pytest.approx(0.8, abs=4 * (0.16 / 400) ** 0.5)
    assert all(len(drawn) == 4 for drawn in draws)


def test_a_demonstration_masters_nothing() -> None:
    stage = make_stage("a", tasks("a", 9))
    task = stage.tasks["a"][0]
    shown = played(task, True)
    shown.demonstrated = True
    strategy = review(stage, interval=1)
    strategy.observe(stage, [shown], rng(0))
    assert not due(strategy, stage)
    strategy.observe(stage, [shown, played(task, True)], rng(0))
    assert due(strategy, stage) == {task.id}


# All of them.


MAKE: Mapping[str, Callable[[], Any]] = {
    "balanced": Balanced,
    "progress": Progress,
    "review": lambda: Review(ReviewConfig(interval=2, mastered=0.5)),
}


@pytest.mark.parametrize("name", MAKE)
def test_after_an_interruption_the_same_is_drawn(name: str) -> None:
    def made() -> tuple[Any, Stage]:
        strategy = MAKE[name]()
        stages = strategy.stages([make_stage(name, tasks(name, 20)) for name in "ab"])
        strategy.begin(_Learner(), stages)
        return strategy, stages[-1]

    (whole, stage), (first, _) = made(), made()
    chances = {"a": 0.7, "b": 0.2}
    simulate(whole, stage, 9, lambda name, update: chances[name], 5)
    simulate(first, stage, 9, lambda name, update: chances[name], 5)
    second = again(first, made()[0])
    assert second.state_dict() == whole.state_dict()
    fresh = made()[0]
    drawn = [
        [strategy.draw(stage, 9, 16, rng(seed)) for seed in range(9)]
        for strategy in (whole, second, fresh)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


class _Learner:
    by_environment = True
