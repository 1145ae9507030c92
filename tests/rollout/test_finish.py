"""Episodes that contrail ends: their environment may score them still."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from playing import Make, Words
from scored import Endless, Scored, Wrong, maker

import contrail
from contrail.baselines.play import Game, play_games
from contrail.baselines.players import Random
from contrail.errors import PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.seeding import generator
from contrail.shift.shifted import Shift, Shifted

import torch  # isort: skip # noqa: F401
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip


def played(policy: Any, made: Any, adapter: contrail.Adapter, **settings: Any) -> list[Episode]:
    pool = EnvironmentPool({"scored": made})
    jobs = [
        Job("scored", task, adapter, generator(0, task.id, sample), sample)
        for task in Scored().tasks("train")
        for sample in range(4)
    ]
    try:
        return play(policy, pool, jobs, **settings)
    finally:
        pool.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("room", "invalid", "ends"),
    [
        (None, None, {"max_turns"}),
        (None, 1, {"max_turns", "invalid"}),
        (150, None, {"max_context"}),
    ],
)
def test_every_episode_has_the_score_of_its_valid_turns(
    make_tiny: Make, workers: int, room: int | None, invalid: int | None, ends: set[str]
) -> None:
    words = Words(ReactConfig(max_new_tokens=6))
    policy = make_tiny(max_context=room) if room else make_tiny()
    episodes = played(policy, maker(workers=workers), words, end_after_invalid=invalid)
    assert ends <= {episode.ended for episode in episodes} <= {*ends, "terminated", "max_turns"}
    lost = 0
    for episode in episodes:
        steps = sum(turn.valid for turn in episode.turns)
        assert sum(turn.reward for turn in episode.turns) == episode.reward == steps
        assert episode.success == (steps > 2)
        assert episode.turns[-1].info["score"] == steps
        assert not any(turn.reward for turn in episode.turns[:-1])
        lost += steps < len(episode.turns)
    assert lost


def test_workers_and_a_shift_change_nothing(make_tiny: Make) -> None:
    def shifted() -> Shifted:
        return Shifted(Scored(), Shift())

    policy = make_tiny()
    for adapter in (Choose(), Words(ReactConfig(max_new_tokens=6))):
        here, there, behind = (
            [
                (e.ended, e.success, [t.reward for t in e.turns])
                for e in played(policy, made, adapter)
            ]
            for made in (Scored, maker(), shifted)
        )
        assert here == there == behind


@pytest.mark.parametrize("workers", [0, 2])
def test_a_finish_that_is_no_score(make_tiny: Make, workers: int) -> None:
    with pytest.raises(PluginError, match=r"finish must return a contrail\.Step .*; it returned 3"):
        played(make_tiny(), maker(Wrong, workers), Choose())
    episodes = played(make_tiny(), maker(Endless, workers), Choose())
    cut = [episode for episode in episodes if episode.ended != "terminated"]
    assert cut
    assert {episode.ended for episode in cut} == {"fault"}
    assert all("finish: " in str(episode.fault) for episode in cut)


def test_baselines_are_scored_alike() -> None:
    pool = EnvironmentPool({"scored": Scored})
    games = [
        Game("scored", task, Choose(), Random(), numpy.random.default_rng(0))
        for task in Scored().tasks("test")
    ]
    outcomes = play_games(pool, games)
    assert [outcome.reward for outcome in outcomes] == [3, 5, 3, 5, 3, 5]
    assert all(outcome.success for outcome in outcomes)
