"""The adapters that ship: what they read in answers, and that nothing else than InvalidAction comes
of nonsense."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import contrail
from contrail import EpisodeView, Exchange, InvalidAction, Observation, Task
from contrail.errors import ContrailError
from contrail.plugins.adapters import xml
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.plugins.adapters.shared import FreeTextConfig, ThoughtConfig, clean
from contrail.registry.plugins import load_plugins
from contrail.workers.factory import EnvironmentFactory

PLUGINS = load_plugins()
FREE = ("act", "json", "react", "tools", "xml")
LISTED = Observation("You see a door.", ("go left", "Look", "say hi.", "<search>a b</search>"))
FREELY = Observation("You see a door.")


def adapter(name: str, **values: Any) -> contrail.Adapter:
    cls = PLUGINS.adapters[name].value
    return cls(cls.Config(**values))


def call(name: str, action: object, key: str = "arguments") -> str:
    return json.dumps({"name": name, key: action})


TAGGED = "<function=act>\n<parameter=action>\ngo left\n</parameter>\n"
READ = [
    ("act", "go left", "go left"),
    ("act", "  go left \n", "go left"),
    ("act", "go left\nThen I look.", "go left"),
    ("act", '\n\n"Go left."\n', "go left"),
    ("act", "```\ngo left\n```", "go left"),
    ("act", "```text\ngo left\n```", "go left"),
    ("act", "```text\n```", None),
    ("act", "<think>\nI might wait.\n</think>\n\ngo left", "go left"),
    ("act", "hm\nhm</THINK>go left", "go left"),
    ("act", "<think>\ngo left", None),
    ("act", "<think>\ngo left\n</think>\n", None),
    ("act", "`LOOK`", "Look"),
    ("act", "say hi", "say hi."),
    ("act", "say hi.", "say hi."),
    ("act", "Say Hi.", "say hi."),
    ("act", "<Search>A b</search>", "<search>a b</search>"),
    ("act", "go to the U.S.", "go to the U.S."),
    ("act", "wait...", "wait..."),
    ("act", "\u201copen the door\u201d.", "open the door"),
    ("act", "don't", "don't"),
    ("react", "Thought:\nhm\n\nAction:\n go left \nmore", "go left"),
    ("react", "Thought: It is locked. Action: go left", "go left"),
    ("react", "Thought: hm\nAction: `go left`", "go left"),
    ("react", "action: go left.", "go left"),
    ("react", "Thought: my next Action: is clear\nAction: look", "Look"),
    ("react", "Thought: Reaction: none. Action:\ngo left", "go left"),
    ("react", "Thought: hm\nAction:\n```\ngo left\n```", "go left"),
    ("react", "<think>\nAction: look\n</think>\nThought: hm\nAction: go left", "go left"),
    ("react", "Action: go left\n<think>", None),
    ("react", "go left", None),
    ("react", "Action:\n\n", None),
    ("react", "Action: a\nAction: b", None),
    ("react", "Thought: x Action: a Action: b", None),
    ("react", "Action: ``", None),
    ("json", '{"action": "go left"}', "go left"),
    ("json", '{"thought": "The {door} is \\"shut\\".", "action": "go left"}', "go left"),
    ("json", '```json\n{"action": "Go left."}\n```', "go left"),
    ("json", 'I think {so}: {"action": "open\nit"} as you said', "open\nit"),
    ("json", '{"state": {"action": "no"}} {"action": "go left"}', "go left"),
    ("json", '{"action": "a"} {"action": "b"}', None),
    ("json", '<think>{"action": "look"}</think>{"action": "go left"}', "go left"),
    ("json", '{"action": "look", "action": "go left"}', None),
    ("json", '{"action": 3}', None),
    ("json", '{"action": ""}', None),
    ("json", '{"action": "go', None),
    ("json", '["action"]', None),
    ("json", "go left", None),
    ("xml", "<action>go left</action>", "go left"),
    ("xml", "<think>Shall I <action>look</action>?</think>\n<action>go left</action>", "go left"),
    ("xml", "The door.</think>\n\n<action>go left</action>", "go left"),
    ("xml", "<think>hm</think><search>a b</search>", "<search>a b</search>"),
    ("xml", "<ACTION> Go left. </ACTION>", "go left"),
    ("xml", "<action><answer>Paris</answer></action>", "<answer>Paris</answer>"),
    ("xml", "<answer>New York\n</answer>", "<answer>New York\n</answer>"),
    ("xml", "<think>hm <action>go left</action>", None),
    ("xml", "<search>a</search><information>b</information>", None),
    ("xml", "<action><action>look</action></action>", None),
    ("xml", "<action></action>", None),
    ("xml", "<search> </search>", None),
    ("xml", "<action>go left", None),
    ("xml", "go left", None),
    ("tools", call("act", {"action": "Go left."}), "go left"),
    ("tools", f"<tool_call>\n{call('act', {'action': 'go left'})}\n</tool_call>", "go left"),
    ("tools", f"I go. {call('act', {'action': 'go left'}, 'parameters')}", "go left"),
    ("tools", call("act", json.dumps({"action": "go left"})), "go left"),
    ("tools", "<function=act>\n<parameter=action>\ngo left\n</parameter>\n", "go left"),
    ("tools", f"<think>{call('act', {'action': 'look'})}</think>{TAGGED}", "go left"),
    ("tools", TAGGED.replace("go left", call("say", "hi")), call("say", "hi")),
    ("tools", '{"name": "act", "arguments": {"action": "a", "action": "b"}}', None),
    ("tools", call("act", {"action": "a"}) * 2, None),
    ("tools", call("move", {"action": "go left"}), None),
    ("tools", call("act", {"action": ["go left"]}), None),
    ("tools", call("act", "go left"), None),
    ("tools", call("act", None), None),
    ("tools", "go left", None),
]


@pytest.mark.parametrize(("name", "text", "action"), READ, ids=[f"{a}: {t}" for a, t, _ in READ])
def test_answers_are_read_as_meant(name: str, text: str, action: str | None) -> None:
    if action is None:
        with pytest.raises(InvalidAction) as caught:
            adapter(name).parse(text, LISTED)
        assert len(str(caught.value)) > 10
    else:
        assert adapter(name).parse(text, LISTED) == action


def test_a_listed_action_is_taken_as_it_is() -> None:
    odd = Observation("", ("'a'", "`b`.", "C", "c", " d"))
    assert [clean(text, odd) for text in ("'a'", "`b`.", "C", "c")] == ["'a'", "`b`.", "C", "c"]
    assert clean("a", FREELY) == clean("'a'.", FREELY) == "a"


PIECES = [
    *("Thought:", "Action:", "action:", "\n", "```json", "`", '"', "'", ".", "{", "}", "[", "]"),
    *('{"action":', '"name": "act"', '"arguments":', '{"action": "go"}', "\\u", "\\ud800", "1e999"),
    *("<think>", "</think>", "<action>", "</action>", "<search>", "</search>", "<a>", "</A>", "</"),
    *("go left", "NaN", ":", ",", " ", "\u201c", "\x00", "\ud800", "9" * 5000, "{" * 99),
    *(call("act", {"action": "go"}), "<action>go</action>"),
]
ANSWERS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join)


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_no_answer_raises_anything_else(name: str) -> None:
    reader = adapter(name)
    generated, read = set(), set()

    @settings(max_examples=2000, deadline=None, derandomize=True, database=None)
    @given(ANSWERS)
    def check(text: str) -> None:
        generated.add(text)
        for seen in (LISTED, FREELY):
            try:
                action = reader.parse(text, seen)
            except InvalidAction:
                continue
            assert action.strip()
            read.add(text)

    check()
    assert len(generated) > 1000
    assert len(read) > 20  # pieces make answers, too


def test_nested_json_has_an_end() -> None:
    for text in ('{"a":' * 20_000, "{" * 20_000 + "}" * 20_000, '{"action": ' * 3000 + "}" * 3000):
        for name in ("json", "tools"):
            with pytest.raises(InvalidAction):
                adapter(name).parse(text, FREELY)


# Round trips.

SETTINGS: dict[str, dict[str, Any]] = {
    "babyai": {"train_tasks": 80},
    "sciworld": {
        "tasks": [
            "chemistry-mix-paint-secondary-color",
            "find-plant",
            "lifespan-longest-lived",
            "power-component",
        ],
        "variations": 1,
    },
    "textworld": {"train_tasks": 2},
    "gymnasium": {"id": "FrozenLake-v1", "actions": ["left", "down", "right", "up"]},
}
SLOW = ("alfworld", "sciworld", "textworld", "textworld-express")


def states(environment: contrail.Environment, most: int = 8) -> Iterator[tuple[Observation, str]]:
    """All actions of some plays, the listed ones and the expert's, each where it comes first."""
    tasks = environment.tasks("train")
    for task in tasks[:: max(1, len(tasks) // most)]:
        seen = environment.reset(task)
        known: set[str] = set()
        for move in [*(environment.expert(task) or ()), *("inventory", "[3]", "look") * 2]:
            action = seen.actions[-1] if seen.actions and move == "look" else move
            new = [each for each in (*(seen.actions or ()), action) if each not in known]
            yield from ((seen, each) for each in dict.fromkeys(new))
            known.update(new)
            step = environment.step(action)
            seen = step.observation
            if step.terminated or step.truncated:
                break


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in PLUGINS.environments
        if name not in ("agentgym", "openenv", "trl", "verifiers")  # servers, or others' code
    ],
)
def test_actions_come_back_as_they_were(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTRAIL_CACHE", str(tmp_path))  # where textworld keeps its games
    registered = PLUGINS.environments[name]
    factory = EnvironmentFactory(
        name, registered, registered.value.Config(**SETTINGS.get(name, {}))
    )
    adapters = [adapter(name) for name in FREE]
    adapters += [adapter(name, thought="I should {action}.") for name in ("json", "react", "xml")]
    try:
        environment = factory.here()
    except ContrailError as error:
        if isinstance(error.__cause__, ImportError) or "needs Java" in str(error):
            pytest.skip(str(error))
        raise
    count = 0
    try:
        for seen, action in states(environment):
            for one in adapters:
                count += 1
                assert one.parse(one.answer(action), seen) == action
    finally:
        environment.close()
    assert count > 50  # a question has one answer


# Keys.


def view(turn: int) -> EpisodeView:
    done = Exchange("x", FREELY, "y", "z")
    return EpisodeView("e", Task("e", "t", 0, "train"), 9, LISTED, (done,) * turn)


@pytest.mark.parametrize("name", FREE)
def test_the_turns_in_which_actions_are_listed(name: str) -> None:
    def shown(**values: Any) -> list[bool]:
        made = adapter(name, **values)
        texts = [made.render(LISTED, view(turn)) for turn in range(3)]
        assert all(text.startswith(LISTED.text) for text in texts)
        return ["Available actions: go left, Look" in text for text in texts]

    assert shown() == shown(list_actions="every") == shown(list_actions=True) == [True] * 3
    assert shown(list_actions="first") == [True, False, False]
    assert shown(list_actions="never") == shown(list_actions=False) == [False] * 3
    assert adapter(name).render(FREELY, view(0)) == FREELY.text
    assert adapter(name, max_new_tokens=7).max_new_tokens == 7


@pytest.mark.parametrize("name", FREE)
def test_actions_with_commas_are_listed_one_per_line(name: str) -> None:
    actions = ["get 1 egg", "craft 1 cake using 3 wheat, 1 egg"]

    def shown(listed: list[str]) -> str:
        return adapter(name).render(Observation("Goal: cake.", listed), view(0))

    assert shown(actions) == "Goal: cake.\nAvailable actions:\n" + "\n".join(actions)
    assert shown(actions[:1] * 2) == "Goal: cake.\nAvailable actions: get 1 egg, get 1 egg"


@pytest.mark.parametrize("name", FREE)
def test_the_system_message_says_how_to_answer(name: str) -> None:
    class World(contrail.Environment):
        system_prompt = "You are in a house."

    World.__abstractmethods__ = frozenset()
    text = adapter(name).system(World())
    assert text.startswith("You are in a house.\n\nAnswer every message with ")


def test_tags_of_an_action_are_written_as_they_are() -> None:
    for action in ("<search>a</search>", "<search>a</search> <search>b</search>", "a <b>c</b>"):
        assert adapter("xml").parse(adapter("xml").answer(action), FREELY) == action
    assert adapter("xml").answer("<search>a</search>") == "<search>a</search>"


def test_a_thought_is_that_of_players_without_a_model() -> None:
    said = adapter("react", thought="I should {action}.").answer("go left")
    assert said == "Thought:\nI should go left.\n\nAction:\ngo left"
    assert React().answer("go left") == "Thought:\n\nAction:\ngo left"
    assert json.loads(adapter("json", thought="hm").answer("a")) == {"thought": "hm", "action": "a"}
    assert adapter("xml", thought="hm").answer("a") == "<think>hm</think>\n<action>a</action>"


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (FreeTextConfig, {"max_new_tokens": 0}, "at least 1"),
        (ThoughtConfig, {"max_new_tokens": 0}, "at least 1"),
        (ReactConfig, {"thought": "hm\nAction: {action}"}, "begins the action"),
    ],
)
def test_impossible_keys_are_refused(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**values)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["<a>", "</a>", "<B>", "</b>", "<A>", "< a>", "x", "\n", "<a>>"])))
def test_pairs_of_tags_are_those_of_a_regular_expression(pieces: list[str]) -> None:
    """Which takes time that grows with the square of the text."""
    text = "".join(pieces)
    expected = re.finditer(r"<([a-z]\w*)>(.*?)</\1>", text, re.IGNORECASE | re.DOTALL)
    assert [*xml.elements(text)] == [(found[1].lower(), found[2], found[0]) for found in expected]


@pytest.mark.parametrize("piece", ["<a>", "<action>", "</a>", "<think>", "{", '{"a":', "[", '"{'])
def test_a_flood_of_beginnings_is_no_action(piece: str) -> None:
    """It ends soon: the time does not grow with the square of its length. (`act` takes all that is
    written for the action, and leaves it to the environment.)"""
    for name in FREE[1:]:
        adapter = PLUGINS.adapters[name].value()
        with pytest.raises(InvalidAction):
            adapter.parse(piece * 100_000, LISTED)
