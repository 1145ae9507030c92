"""Every strategy returns as many tasks as it is asked for, in every edge; others are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest

import contrail
from contrail.environment import Task
from contrail.errors import PluginError
from contrail.registry.registered import Registered
from contrail.runs.composition import Composition, _Member
from contrail.stage import Stage
from contrail.strategies.balanced import Balanced, BalancedConfig
from contrail.strategies.cumulative import Cumulative
from contrail.strategies.curriculum import Curriculum, CurriculumConfig
from contrail.strategies.mixture import Mixture, MixtureConfig
from contrail.strategies.progress import Progress, ProgressConfig
from contrail.strategies.replay import Replay, ReplayConfig
from contrail.strategies.review import Review, ReviewConfig
from contrail.strategies.sequential import Sequential

from contrail.episode import Episode  # isort: skip
from stages import make_context, make_stage, tasks  # isort: skip

MAKE: list[Any] = [
    Sequential,
    Cumulative,
    Mixture,
    lambda: Mixture(MixtureConfig(weights={"a": 1, "b": 0, "c": 1e-9}, temperature=0.01)),
    lambda: Mixture(MixtureConfig(temperature=1e6)),
    Balanced,
    lambda: Balanced(BalancedConfig(rate=1e9, floor=0.0)),
    Progress,
    lambda: Progress(ProgressConfig(difficulties=True, floor=0.0)),
    *[
        lambda fraction=fraction: Review(ReviewConfig(fraction=fraction, interval=1))
        for fraction in (0.0, 0.3, 1.0)
    ],
    *[
        lambda mode=mode, fraction=fraction, buffer=buffer: Replay(
            ReplayConfig(mode=mode, fraction=fraction, buffer=buffer)
        )
        for mode in ("tasks", "mastery", "episodes")
        for fraction in (0.0, 0.3, 1.0)
        for buffer in (1, 2, 256)
    ],
    *[
        lambda first=first, duration=duration: Curriculum(
            CurriculumConfig(initial_competence=first, duration=duration)
        )
        for first in (0.0, 1.0)
        for duration in (0.0, 1.0)
    ],
]


def played(task: Task, success: bool) -> Episode:
    return Episode(task.environment, task, 0, success=success)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 7, 2), (40, 3, 40)])
@pytest.mark.parametrize("make", MAKE)
def test_as_many_tasks_as_are_asked_for(make: Any, sizes: tuple[int, ...]) -> None:
    for updates in ((3, 3, 3), (0, 3, 3), (3, 0, 2), (0, 0, 0)):
        listed = [
            make_stage(name, [Task(name, str(n), n, "train", n) for n in range(size)], count)
            for name, size, count in zip("abc", sizes, updates, strict=True)
        ]
        known = {
            name: {(task.id, task.seed) for task in stage.tasks[name]}
            for name, stage in zip("abc", listed, strict=True)
        }
        strategy = make()
        stages = strategy.stages([*listed, listed[0]])
        policy = SimpleNamespace(snapshot=dict)
        strategy.begin(SimpleNamespace(policy=policy, by_environment=True), stages)
        member = _Member("it", Registered(type(strategy), "p"), strategy)
        for number, stage in enumerate(stages, start=1):
            strategy.enter(make_context(number, stage, policy=policy), resumed=False)
            for count in (1, 2, 5, 64):
                for update in range(4):
                    rng = numpy.random.default_rng(update)
                    # A new one each time: it keeps what was drawn until the update is made.
                    drawn = Composition([member]).draw(stage, update, count, rng, known)
                    assert len(drawn) == count
                    # What has been seen decides what some draw.
                    strategy.observe(
                        stage, [played(task, rng.random() < 0.5) for task in drawn], rng
                    )


def trained(strategy: Any, updates: dict[str, int]) -> set[str]:
    """The environments that the strategy draws from, of a stream with so many updates of each."""
    stages = strategy.stages([make_stage(name, tasks(name, 5), n) for name, n in updates.items()])
    strategy.begin(SimpleNamespace(by_environment=True), stages)
    found = set()
    for number, stage in enumerate(stages, start=1):
        strategy.enter(make_context(number, stage), resumed=False)
        for update in range(stage.updates):
            rng = numpy.random.default_rng(update)
            found |= {task.environment for task in strategy.draw(stage, update, 8, rng)}
    return found


@pytest.mark.parametrize(
    "make", [Mixture, Balanced, Cumulative, Progress, Replay, Review, Sequential]
)
def test_a_stage_without_updates_is_not_trained_on(make: Any) -> None:
    assert trained(make(), {"a": 9, "b": 0, "c": 9}) == {"a", "c"}


def test_a_weight_of_nought_is_not_trained_on() -> None:
    weights = {"a": 1.0, "b": 0.0}
    strategy = Mixture(MixtureConfig(weights=weights))
    [mixed] = strategy.stages([make_stage(name, tasks(name, 5)) for name in "abc"])
    assert mixed.environments == ["a"]
    assert trained(Mixture(MixtureConfig(weights=weights)), {"a": 3, "b": 3, "c": 3}) == {"a"}


class Drawing(contrail.Strategy):
    """Returns whatever it was told to."""

    returns: Any

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        return self.returns


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([], "it returned 0 tasks where 4 were asked for"),
        ([Task("a", "1", 1, "train")] * 3, "it returned 3 tasks where 4 were asked for"),
        ([Task("a", "1", 1, "train")] * 5, "it returned 5 tasks where 4 were asked for"),
        ([Task("z", "1", 1, "train")] * 4, "of no environment of this run"),
        ([Task("a", "2", 2, "test")] * 4, "which is no training task of 'a'"),
        ([Task("a", "1", 2, "train")] * 4, "which is no training task of 'a'"),
        (None, "it must return a list of contrail.Task; it returned None"),
        (["a/1"] * 4, "it must return a list of contrail.Task"),
    ],
)
def test_another_number_is_refused(returns: Any, message: str) -> None:
    strategy = Drawing()
    strategy.returns = returns
    composed = Composition([_Member("mine", Registered(Drawing, "plugin"), strategy)])
    stage: Stage = make_stage("a", tasks("a", 9))
    with pytest.raises(PluginError, match=message) as refused:
        composed.draw(stage, 0, 4, numpy.random.default_rng(0), {"a": {("1", 1)}})
    assert "strategy 'mine' (plugin 'plugin'): draw" in str(refused.value)
