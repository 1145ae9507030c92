"""Many episodes at a time, faults, and the limits of an episode."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from faults import ANYTHING, INTERRUPTS, raises
from playing import EXACT, Make, Words, assert_freed, jobs, largest, pool, same
from rooms import Rooms

import contrail
from contrail import Observation, Step, Task
from contrail.errors import ConfigError, PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React, ReactConfig

import torch  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.rollout.play import play  # isort: skip


@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))])
def test_concurrency_changes_nothing(
    make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter
) -> None:
    policy = make_tiny()
    finished: list[int] = []
    runs = [
        play(
            policy,
            pool(),
            jobs(adapter, 5),
            concurrency=concurrency,
            progress=lambda episode: finished.append(len(episode.turns)),
        )
        for concurrency in (1, 3, 64)
    ]
    assert len(finished) == 30
    assert same(runs[0], runs[1]) < EXACT
    assert same(runs[0], runs[2]) < EXACT
    assert_freed(engines)
    one, three, all_at_once = (engine.computed_tokens for engine in engines)
    assert one > three > all_at_once


def test_environments_and_adapters_side_by_side(make_tiny: Make, engines: list[Engine]) -> None:
    policy = make_tiny()
    mixed = [
        job
        for pair in zip(
            jobs(Choose(), 4), jobs(Words(ReactConfig(max_new_tokens=5)), 4), strict=True
        )
        for job in pair
    ]
    episodes = play(policy, pool(), mixed, concurrency=6)
    assert largest(policy, episodes, 1.0) < EXACT
    alone = [play(policy, pool(), jobs(Choose(), 4)), episodes[::2]]
    assert same(*alone) < EXACT
    assert_freed(engines)


class Faulty(Rooms):
    """Cannot begin task 1, and breaks at the second action of task 2."""

    def reset(self, task: Task) -> Observation:
        if task.seed == 1:
            raise OSError("no such room")
        self.left = 1 if task.seed == 2 else 99
        return super().reset(task)

    def step(self, action: str) -> Step:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it broke")
        return super().step(action)


@pytest.mark.parametrize("name", ANYTHING)
def test_whatever_an_environment_raises_is_a_fault(make_tiny: Make, name: str) -> None:
    class Broken(Rooms):
        step = raises(ANYTHING[name])

    episodes = play(make_tiny(), pool(Broken), jobs(Choose(), 2, 1))
    assert [item.ended for item in episodes] == ["fault", "fault"]
    assert type(ANYTHING[name]).__name__ in (episodes[0].fault or "")


@pytest.mark.parametrize("name", INTERRUPTS)
def test_an_interrupt_within_an_environment_ends_play(make_tiny: Make, name: str) -> None:
    class Interrupted(Rooms):
        step = raises(INTERRUPTS[name])

    with pytest.raises(BaseException) as raised:  # noqa: PT011
        play(make_tiny(), pool(Interrupted), jobs(Choose(), 2, 1))
    assert raised.value is INTERRUPTS[name]


@pytest.mark.parametrize("method", ["system", "render", "candidates", "parse"])
@pytest.mark.parametrize("wrong", [raises(ANYTHING["cancelled"]), lambda *_: 3])
def test_a_fault_of_an_adapter_is_blamed_on_it(
    make_tiny: Make, method: str, wrong: Callable[..., Any]
) -> None:
    wrong_adapter = type("Wrong", (Choose,), {method: wrong})()
    with pytest.raises(PluginError, match=r"adapter Wrong: .*(CancelledError|TypeError)"):
        play(make_tiny(), pool(), jobs(wrong_adapter, 1, 1))


@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_faults_leave_the_others_alone(
    make_tiny: Make, engines: list[Engine], concurrency: int
) -> None:
    policy = make_tiny()
    sound = play(policy, pool(), jobs(Choose(), 5, 3))
    episodes = play(policy, pool(Faulty), jobs(Choose(), 5, 3), concurrency=concurrency)
    assert all(item.ended == "fault" for item in episodes[3:9])
    assert re.fullmatch(r"reset: OSError: no such room; .*\.py line \d+", episodes[3].fault or "")
    assert not episodes[3].turns
    for item in episodes[6:9]:
        assert item.fault is not None
        assert item.fault.startswith(f"step({item.turns[1].action!r}): ValueError: it broke; ")
        assert len(item.turns) == 2
        assert not item.success
    others = [0, 1, 2, *range(9, 15)]
    assert same([sound[i] for i in others], [episodes[i] for i in others]) < EXACT
    assert all(episodes[i].fault is None for i in others)
    assert_freed(engines)


@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=6))])
def test_max_context(make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter) -> None:
    free = play(make_tiny(), pool(), jobs(adapter, 3))
    longest = max(len(episode.token_ids) for episode in free)
    policy = make_tiny(max_context=longest - 20)
    episodes = play(policy, pool(), jobs(adapter, 3))
    assert {item.ended for item in episodes} >= {"max_context"}
    for item in episodes:
        assert item.turns
        assert len(item.token_ids) <= policy.max_context
    none = play(make_tiny(max_context=10), pool(), jobs(adapter, 3))
    assert all(item.ended == "max_context" and not item.turns for item in none)
    assert_freed(engines)


def test_max_turns_and_truncation(make_tiny: Make, engines: list[Engine]) -> None:
    class Short(Rooms):
        max_turns = 2

        def step(self, action: str) -> Step:
            step = super().step(action)
            return Step(step.observation, truncated=action.startswith("go"), valid=False)

    episodes = play(make_tiny(), pool(Short), jobs(Choose(), 12))
    assert {item.ended for item in episodes} == {"max_turns", "truncated"}
    for item in episodes:
        assert len(item.turns) == 2 or item.ended == "truncated"
        assert not any(turn.valid for turn in item.turns)
    assert_freed(engines)


def test_invalid_actions_count_as_turns(make_tiny: Make) -> None:
    environment = Rooms()
    adapter = React(ReactConfig(max_new_tokens=4))
    (episode,) = play(make_tiny(), pool(lambda: environment), jobs(adapter, 1, 1))
    assert episode.ended == "max_turns"
    assert len(episode.turns) == Rooms.max_turns
    assert environment.played == []
    for turn in episode.turns:
        assert not turn.valid
        assert turn.action is None
    for turn in episode.turns[1:]:
        assert turn.observation == "No action found. Write one line after 'Action:'."
        assert "No action found." in make_tiny().chat.text(turn.prompt)


def test_nothing_to_choose_from(make_tiny: Make, engines: list[Engine]) -> None:
    class Dead(Rooms):
        ACTIONS = (*Rooms.ACTIONS[:3], (), (), (), ())

    class Silent(Rooms):
        ACTIONS = (None,) * 7

    episodes = play(make_tiny(), pool(Dead), jobs(Choose(), 5))
    assert {item.ended for item in episodes} >= {"fault"}
    for item in episodes:
        if item.ended == "fault":
            assert "the list of admissible actions is empty" in item.fault
    assert_freed(engines)
    with pytest.raises(ConfigError, match="does not list"):
        play(make_tiny(), pool(Silent), jobs(Choose(), 1))


def test_environments_are_made_as_needed_and_used_again(make_tiny: Make) -> None:
    made: list[Rooms] = []

    def make() -> Rooms:
        made.append(Rooms())
        return made[-1]

    used = pool(make)
    play(make_tiny(), used, jobs(Choose()), concurrency=3)
    assert len(made) == 3
    play(make_tiny(), used, jobs(Choose()), concurrency=2)
    assert len(made) == 3
    assert sum(item.resets for item in made) == 28


def test_global_random_state_is_not_touched(make_tiny: Make) -> None:
    policy = make_tiny()
    every = jobs(Choose(), 4) + jobs(Words(ReactConfig(max_new_tokens=4)), 2)

    def state() -> tuple[object, ...]:
        numpy_state = numpy.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numpy_state, torch.get_rng_state().tolist()

    before = state()
    episodes = play(policy, pool(), every)
    assert state() == before
    random.seed(3)
    torch.manual_seed(3)
    every = jobs(Choose(), 4) + jobs(Words(ReactConfig(max_new_tokens=4)), 2)
    assert same(episodes, play(policy, pool(), every)) == 0
