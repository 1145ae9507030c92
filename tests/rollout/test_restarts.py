"""Turns whose context begins anew: what they record is what a plain model says of that context."""

from __future__ import annotations

from typing import Any

import pytest
from playing import EXACT, Alone, Make, WordsAlone, assert_freed, jobs, largest, pool, same
from rooms import Rooms
from thinking import OPENINGS, TEMPLATES, Thoughts, follow_writers, thinking_jobs, thinking_policy

import contrail
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.seeding import generator

from contrail.engine.admission import cache_tokens  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import Job, play  # isort: skip
from contrail.rollout.script import Move, no_sampler  # isort: skip

ALONE = [
    pytest.param(Alone(), id="choose"),
    pytest.param(WordsAlone(ReactConfig(max_new_tokens=6)), id="text"),
]


def restarts(episodes: list[Episode]) -> list[bool]:
    return [turn.restart for episode in episodes for turn in episode.turns[1:]]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("adapter", ALONE)
def test_each_turn_is_a_conversation_of_its_own(
    make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter, temperature: float
) -> None:
    policy = make_tiny()
    episodes = play(policy, pool(), jobs(adapter), temperature=temperature)
    assert largest(policy, episodes, temperature) < EXACT
    assert_freed(engines)
    assert len(restarts(episodes)) > 20
    assert all(restarts(episodes))
    system = adapter.system(Rooms())
    for episode in episodes:
        for number, turn in enumerate(episode.turns):
            assert turn.prompt == policy.chat.start(system, turn.observation)
            assert turn.restart == (number > 0)
            assert episode.context(number) == turn.prompt
        assert len(episode.token_ids) == len(episode.mask)
        marked = [turn.get("restart") for turn in episode.record()["turns"]]
        assert marked == [None, *[True] * (len(episode.turns) - 1)]


@pytest.mark.parametrize("adapter", ALONE)
def test_memory_and_company_change_nothing(
    make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter
) -> None:
    policy = make_tiny()
    together = play(policy, pool(), jobs(adapter))
    few = play(policy, pool(), jobs(adapter), concurrency=2)
    assert same(together, few) < EXACT
    policy.cache_gb = 300.5 / cache_tokens(policy.base, 1.0)  # of three episodes or so
    assert same(together, play(policy, pool(), jobs(adapter))) < EXACT
    policy.slow_because = "of the test"  # plain forwards
    assert same(together, play(policy, pool(), jobs(adapter))) < EXACT
    assert_freed(engines)


def test_an_invalid_answer_is_followed_by_the_observation(make_tiny: Make) -> None:
    adapter = WordsAlone(ReactConfig(max_new_tokens=6))
    episodes = play(make_tiny(), pool(), jobs(adapter))
    told = 0
    for episode in episodes:
        for turn, later in zip(episode.turns, episode.turns[1:], strict=False):
            if not turn.valid and "odd" in later.observation:
                told += 1
                before = turn.observation.rpartition("odd.\n\n")[2]
                assert later.observation == f"{len(turn.text)} letters are odd.\n\n{before}"
    assert told > 3


def test_the_limit_is_that_of_one_context(make_tiny: Make) -> None:
    """Together, the turns of an episode may have more tokens."""
    adapter = WordsAlone(ReactConfig(max_new_tokens=6))
    episodes = play(make_tiny(), pool(), jobs(adapter))
    longest = max(
        len(episode.context(number)) for episode in episodes for number in range(len(episode.turns))
    )
    assert max(len(episode.token_ids) for episode in episodes) > longest + 6
    assert same(episodes, play(make_tiny(max_context=longest + 6), pool(), jobs(adapter))) < EXACT
    tight = play(make_tiny(max_context=longest + 5), pool(), jobs(adapter))
    assert "max_context" in {episode.ended for episode in tight}
    assert "max_context" not in {episode.ended for episode in episodes}


# thoughts


@pytest.mark.parametrize("name", TEMPLATES)
def test_past_thoughts_are_dropped_as_the_template_drops_them(
    monkeypatch: pytest.MonkeyPatch, engines: list[Engine], name: str
) -> None:
    policy = thinking_policy(TEMPLATES[name])
    follow_writers(monkeypatch)
    episodes = play(policy, pool(), thinking_jobs(policy), temperature=0.8)
    assert largest(policy, episodes, 0.8) < EXACT
    assert_freed(engines)
    by, opening = policy.chat.tokenizer, OPENINGS.get(name, "")
    system = Thoughts().system(Rooms())
    assert sum(restarts(episodes)) > 5
    for episode in episodes:
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for number, turn in enumerate(episode.turns):
            messages.append({"role": "user", "content": turn.observation})
            expected = by.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
            assert episode.context(number) == expected
            # A thought that the prompt has begun is part of the text; an empty one is not.
            begun = "" if opening == "<think>\n" else opening
            assert turn.text.startswith(opening) or begun
            messages.append({"role": "assistant", "content": begun + turn.text})
    actions = {turn.action for episode in episodes for turn in episode.turns}
    assert actions & {"go", "look", "go left", "wait", "open the door"}


def test_a_context_goes_on_where_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers without a thought, whose tokens are those of their text."""
    policy = thinking_policy()
    adapter = Choose()
    dropping = play(policy, pool(), jobs(adapter))
    assert len(restarts(dropping)) > 20
    assert not any(restarts(dropping))
    policy.chat.drops_thoughts = False
    assert same(dropping, play(policy, pool(), jobs(adapter))) == 0


def test_thoughts_are_kept_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = thinking_policy()
    policy.chat.drops_thoughts = False
    follow_writers(monkeypatch)
    episodes = play(policy, pool(), thinking_jobs(policy))
    assert not any(restarts(episodes))
    opened: Any = policy.chat.tokenizer.convert_tokens_to_ids("<think>")
    assert all(item.token_ids.count(opened) == len(item.turns) for item in episodes)
    assert largest(policy, episodes, 1.0) < EXACT


def test_only_what_changes_is_computed_again(
    monkeypatch: pytest.MonkeyPatch, engines: list[Engine]
) -> None:
    """A context that is rewound keeps its keys of the beginning."""
    policy = thinking_policy()
    follow_writers(monkeypatch)
    episodes = play(policy, pool(), thinking_jobs(policy, 1, 1))
    (episode,) = episodes
    assert len(episode.turns) > 2
    restarted = sum(len(turn.prompt) for turn in episode.turns[1:])
    new = len(episode.turns[0].prompt) + episode.generated_tokens
    (engine,) = engines
    # The observations after the first, and the answers without their thoughts.
    assert new < engine.computed_tokens < new + restarted / 2


class Roomy(Thoughts):
    """A demonstration of an answer that was cut off has its end besides."""

    max_new_tokens = 41


@pytest.mark.parametrize("kind", ["alone", "drops"])
def test_demonstrations_see_the_same_contexts(
    make_tiny: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "alone":
        policy, adapter = make_tiny(), Alone()
        played = play(policy, pool(), jobs(adapter))
    else:
        policy, adapter = thinking_policy(), Roomy()
        follow_writers(monkeypatch)
        played = play(policy, pool(), thinking_jobs(policy))
    assert sum(restarts(played)) > 5
    scripts = [[Move(turn.action or "", turn.text) for turn in episode.turns] for episode in played]
    shown = play(
        policy,
        pool(),
        [
            Job("rooms", episode.task, adapter, generator(0), script=script)
            for episode, script in zip(played, scripts, strict=True)
        ],
        open_sampler=no_sampler,
    )
    assert sum(restarts(shown)) > 5
    for episode, found in zip(played, shown, strict=True):
        assert [turn.text for turn in found.turns] == [turn.text for turn in episode.turns]
        for number, turn in enumerate(episode.turns):
            assert found.context(number) == episode.context(number)
            if not turn.cut_off:
                assert found.turns[number].written == turn.written
