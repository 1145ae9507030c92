"""The memory of unfinished episodes is bounded, and what is recorded is the same."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from rooms import Rooms

from contrail.adapter import Adapter
from contrail.model.policy import Policy
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.seeding import generator

import torch  # isort: skip
from contrail.engine import sampler as sampler_module  # isort: skip
from contrail.engine.cache import Cache  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip
from contrail.engine.admission import CacheAdmission, cache_tokens  # isort: skip


def test_the_oldest_keep_their_keys() -> None:
    room = CacheAdmission(100)
    assert room.admit(["a"] * 3, [40, 30, 50], [True] * 3) == [True, True, False]
    # The third waits: the first two may become as long as it is.
    assert room.admit(["a"] * 3, [41, 31, 50], [True, True, False]) == [True, True, False]
    assert room.admit(["a"] * 2, [31, 50], [True, False]) == [True, True]


def test_all_begin_where_nothing_is_known_of_their_lengths() -> None:
    room = CacheAdmission(100)
    assert room.admit(["a"] * 4, [25] * 4, [False] * 4) == [True] * 4
    assert room.admit(["a"] * 4, [26] * 4, [True] * 4) == [True, True, True, False]


def test_lengths_are_expected_by_environment() -> None:
    room = CacheAdmission(100)
    room.admit(["long"], [90], [True])
    assert room.admit(["short", "short", "long"], [20, 20, 10], [True, True, False]) == [
        True,
        True,
        False,
    ]
    assert room.admit(["short"] * 3, [20] * 3, [True, True, False]) == [True] * 3


@pytest.mark.parametrize("holding", [True, False])
def test_an_episode_longer_than_the_room_goes_on_alone(holding: bool) -> None:
    room = CacheAdmission(100)
    assert room.admit(["a"] * 2, [150, 10], [holding] * 2) == [True, False]


@pytest.mark.parametrize("adapter", [Choose(), React(ReactConfig(max_new_tokens=5))])
def test_a_bound_changes_nothing_but_the_work(
    make_tiny: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, adapter: Adapter
) -> None:
    engines: list[Engine] = []
    held: list[int] = []

    class Watched(Engine):
        def __init__(self, *args: object, **settings: object) -> None:
            super().__init__(*args, **settings)  # type: ignore[arg-type]
            engines.append(self)

        def run(self, requests):  # type: ignore[no-untyped-def]
            decisions = super().run(requests)
            held.append(sum(context.stored for context in self._live))
            return decisions

    monkeypatch.setattr(sampler_module, "Engine", Watched)
    policy = make_tiny()
    jobs = [(task, sample) for task in Rooms().tasks("train")[:5] for sample in range(3)]

    def run() -> list[tuple[list[int], list[float]]]:
        held.clear()
        drawn = [
            Job("rooms", task, adapter, generator(0, "rollout", task.id, sample), sample)
            for task, sample in jobs
        ]
        episodes = play(policy, EnvironmentPool({"rooms": Rooms}), drawn)
        return [(episode.token_ids, episode.logprobs) for episode in episodes]

    free, most = run(), max(held)
    bound_tokens = most // 3
    policy.cache_gb = (bound_tokens + 0.5) / cache_tokens(policy.base, 1.0)
    bound = run()
    # A chosen action's keys come on top.
    assert max(held) <= 1.1 * bound_tokens
    assert [tokens for tokens, _ in bound] == [tokens for tokens, _ in free]
    for (_, one), (_, other) in zip(bound, free, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    all_at_once, in_turns = (engine.computed_tokens for engine in engines)
    assert all_at_once < in_turns < 2 * all_at_once
    assert not engines[1]._live


def test_tokens_that_fit(make_tiny: Callable[..., Policy]) -> None:
    model = make_tiny().base
    cache = Cache(torch.device("cpu"))
    config = model.config
    cache.take()
    cache.reserve(1)
    width = config.hidden_size // config.num_attention_heads
    new = torch.zeros(1, config.num_key_value_heads, width)
    token = sum(
        held[0, 0].nbytes
        for layer in range(config.num_hidden_layers)
        for held in cache.layer(layer, new, new)
    )
    assert cache_tokens(model, 0.5) == int(0.5e9 // token)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory_is_taken_when_written_and_given_back() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    cache = Cache(torch.device("cpu"))
    rows = [cache.take() for _ in range(64)]
    before = resident()
    cache.reserve(4096)
    keys, values = cache.layer(0, torch.zeros(1, 4, 64), torch.zeros(1, 4, 64))
    assert keys.nbytes == 64 * 4096 * 4 * 64 * 4
    row = keys[0].nbytes
    places = torch.tensor([cache.claim(rows[7], position) for position in range(4096)])
    for held in (keys, values):
        assert not held.any()
        held.view(-1, 4, 64).index_fill_(0, places, 1.0)
    assert 1.8 * row < resident() - before < 2.5 * row
    cache.give(rows[7])
    assert resident() - before < 0.5 * row
    assert not keys[7].any()
