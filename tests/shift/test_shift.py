"""Interface shift: the same game behind other words, another list, and irrelevant sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrail import ConfigError, ContrailError, Environment, Observation, PluginError, Step, Task
from contrail.adapter import EpisodeView, call
from contrail.baselines import cache
from contrail.check import check
from contrail.config import build
from contrail.metrics.failures import FailureContext
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React
from contrail.plugins.adapters.xml import Xml
from contrail.registry.plugins import load_plugins
from contrail.registry.registered import Registered
from contrail.shift.alias import Form, Renaming
from contrail.shift.shifted import DISTRACTIONS, Shift, Shifted
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.remote import Remote

PLUGINS = load_plugins([])
FORMS = {
    name: PLUGINS.environments[name].value.forms
    for name in PLUGINS.environments
    if PLUGINS.environments[name].value.forms
}
SHORT = {"babyai": {"levels": ["GoToLocal", "UnlockLocalDist"], "test_tasks": 6}}
SLOW = {"alfworld": {"test_tasks": 2}, "sciworld": {"tasks": ["find-living-thing"]}}
CHEAP = ("babyai", "textcraft", "searchqa", "webshop")
LISTED = ["open red door", "wait", "wait longer", "7"]


class House(Environment):
    """Two doors; the prompt, a word of it, and an answer name actions."""

    system_prompt = "Wait for it: open X, wait, wait longer (an hour). Then wait and see."
    forms = ("open {X}", "wait", "wait longer")
    mentions = r"(?<=^No: ).+(?=\.$)"
    finishing = ("open .*",)
    idle = ("wait",)

    def tasks(self, split: str) -> list[Task]:
        return [Task("house", f"{split}/{i}", i, split) for i in range(3)]

    def reset(self, task: Task) -> Observation:
        self._done: list[str] = []
        return Observation("You wait at a red door. Or open X.", LISTED)

    def step(self, action: str) -> Step:
        self._done.append(action)
        known = action in LISTED
        text = f"{action!r} done." if action == "7" else f"No: {action}."
        won = action == "open red door"
        return Step(Observation(text, LISTED), float(won), won, success=won, valid=known)

    def expert(self, task: Task) -> list[str]:
        return ["7", "open red door"]


def house(**shift: object) -> Shifted:
    return Shifted(House(), build(Shift, shift))


def factory(name: str, **shift: int) -> EnvironmentFactory:
    config = PLUGINS.environments[name].value.Config
    own = config(**{**SHORT, **SLOW}.get(name, {}))
    return replace(EnvironmentFactory.of(name, own, PLUGINS), shift=Shift(**shift))


actions = st.sampled_from(sorted(FORMS)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.lists(
            st.builds(
                lambda form, words: form.write(None if form.words is None else words),
                st.sampled_from([Form.of(form) for form in FORMS[name]]),
                st.text(min_size=1, max_size=20),
            ),
            min_size=2,
            max_size=2,
            unique=True,
        ),
        st.integers(0, 2**32 - 1),
    )
)


@settings(deadline=None, max_examples=150)
@given(actions)
def test_a_renaming_is_a_bijection_that_leaves_no_old_name(
    drawn: tuple[str, list[str], int],
) -> None:
    name, (one, other), seed = drawn
    renaming = Renaming(FORMS[name], seed)
    renamed = [renaming.rename(action) for action in (one, other)]
    assert renamed[0] != renamed[1]
    for action, text in zip((one, other), renamed, strict=True):
        assert text is not None
        assert renaming.restore(text) == action
        assert renaming.restore(action) is None


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 2**32 - 1), st.text(max_size=30))
def test_what_has_a_meaning_is_its_name(name: str, seed: int, text: str) -> None:
    renaming = Renaming(FORMS[name], seed)
    for written in (text, *(f"{verb}[{text}]" for verb in renaming._names.values())):
        action = renaming.restore(written)
        if action is not None:
            again = renaming.rename(action)
            assert again is not None
            assert again.replace(" ", "") == written.replace(" ", "")


@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_verbs_of_an_environment_begin_differently(name: str) -> None:
    for seed in range(5):
        names = list(Renaming(FORMS[name], seed)._names.values())
        assert len({word[:2] for word in names}) == len(names)
        assert not {word for form in FORMS[name] for word in form.split()} & set(names)


def test_a_verb_has_one_name_in_all_environments_and_seeds_differ() -> None:
    renamed = [Renaming(FORMS[name], 7)._by_verb["go to"] for name in ("babyai", "alfworld")]
    assert renamed[0] == renamed[1]
    assert len({Renaming(FORMS["babyai"], seed)._by_verb["go to"] for seed in range(9)}) > 5


def test_the_layout_is_another_one() -> None:
    for seed in range(20):
        assert "[" not in str(Renaming(FORMS["webshop"], seed).rename("click[Buy Now]"))
        assert "<" not in str(Renaming(FORMS["searchqa"], seed).rename("<search>a</search>"))
        assert " " not in str(Renaming(FORMS["babyai"], seed).rename("drop"))


def test_a_renaming_is_the_same_in_every_process() -> None:
    code = (
        "from contrail.shift.alias import Renaming\n"
        f"print(Renaming({FORMS['babyai']!r}, 5).in_prompt('drop'))\n"
    )
    environ = {**os.environ, "PYTHONHASHSEED": "4321"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == Renaming(FORMS["babyai"], 5).in_prompt("drop")


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(PluginError, match=r"'open X\}' is not the form of an action"):
        Renaming(["open X}"], 0)


def test_prompt_and_texts_name_the_actions_as_they_are_now_called() -> None:
    environment = house(alias=1)
    renaming = environment._renaming
    assert renaming is not None
    door, wait, longer = (renaming.rename(action) for action in LISTED[:3])
    opened = renaming.rename("open X")
    prompt, _, glossary = environment.system_prompt.partition("\n\n")
    assert prompt == f"Wait for it: {opened}, {wait}, {longer} (an hour). Then wait and see."
    assert glossary == (
        f"The actions have other names here: {opened} means open X; {wait} means wait; "
        f"{longer} means wait longer."
    )
    seen = environment.reset(environment.tasks("train")[0])
    assert seen == Observation(
        f"You wait at a red door. Or {opened}.", [str(door), str(wait), str(longer), "7"]
    )
    step = environment.step(f" {str(wait).upper()} ")
    assert (step.observation.text, step.valid) == (f"No: {wait}.", True)


@pytest.mark.parametrize("said", ["open red door", "Open Red Door.", "wait", "xyzzy", "", "8"])
def test_an_old_name_is_no_action(said: str) -> None:
    environment = house(alias=1)
    environment.reset(environment.tasks("train")[0])
    step = environment.step(said)
    assert not step.valid
    assert not step.success
    assert step.observation.text == "No: (no action of this game)."


def test_the_expert_speaks_the_new_words() -> None:
    environment = house(alias=1)
    task = environment.tasks("train")[0]
    environment.reset(task)
    number, door = environment.expert(task) or ()
    assert number == "7"
    assert door != "open red door"
    assert environment.step(number).valid
    assert environment.step(door).success


def test_failure_rules_see_the_old_words() -> None:
    context = FailureContext.of(House, None, Shift(alias=1))
    renamed = context.renaming.rename("wait") if context.renaming else None
    assert context.renaming is not None
    from contrail import Turn

    def turn(action: str | None) -> Turn:
        return Turn([], [], [], [], None, None, text="x", action=action)

    assert context.idles(turn(renamed))
    assert not context.idles(turn("wait"))
    assert context.finishes(turn(context.renaming.rename("open red door")))


def test_an_environment_without_forms_refuses_an_alias() -> None:
    class Mute(House):
        forms = ()

    with pytest.raises(ConfigError, match=r"of 'Mute' cannot be renamed.*set `forms`"):
        Shifted(Mute(), Shift(alias=0))
    assert Shifted(Mute(), Shift(distract=1)).system_prompt == House.system_prompt


@pytest.mark.parametrize(
    ("when", "shown"), [("every", [True, True]), ("first", [True, False]), ("never", [False] * 2)]
)
def test_the_list_is_shown_when_it_should_be_and_read_always(when: str, shown: list[bool]) -> None:
    environment = house(actions=when)
    task = environment.tasks("train")[0]
    seen = [environment.reset(task), environment.step("7").observation]
    for observation, listed in zip(seen, shown, strict=True):
        view = EpisodeView("house", task, 9, seen[0])
        text = call(React(), "render", observation, view)
        assert ("Available actions: " in text) is listed
        assert observation.actions == LISTED
        assert call(Choose(), "candidates", observation, view) == LISTED
        assert call(React(), "parse", "Action: OPEN RED DOOR", observation, view) == LISTED[0]
    assert call(React(), "render", environment.reset(task), view).count("Available") == shown[0]


def test_irrelevant_sentences_depend_on_task_and_turn_alone() -> None:
    def texts(task: int) -> list[str]:
        environment = house(distract=3)
        start = environment.reset(environment.tasks("train")[task])
        return [start.text, environment.step("wait").observation.text]

    one, other = texts(0), texts(1)
    assert one == texts(0)
    lines = [text.splitlines() for text in (*one, *other)]
    assert all(len(line) == 4 and set(line[1:]) <= set(DISTRACTIONS) for line in lines)
    assert len({tuple(line[1:]) for line in lines}) == 4
    assert [line[0] for line in lines[:2]] == ["You wait at a red door. Or open X.", "No: wait."]


class Talks(House):
    """Says what it is given."""

    said = ("Goal: out. You see a cat.\nIt is dark.", "It is dark. You see a dog.", "It is dark.")

    def reset(self, task: Task) -> Observation:
        self.turn = 0
        return Observation(self.said[0], LISTED)

    def step(self, action: str) -> Step:
        self.turn += 1
        return Step(Observation(self.said[self.turn], LISTED))


@pytest.mark.parametrize(
    ("observe", "shown"),
    [
        (None, Talks.said),
        ("terse", (Talks.said[0], "You see a dog.", "Nothing new.")),
        ("full", (Talks.said[0], *(f"{Talks.said[0]}\n{text}" for text in Talks.said[1:]))),
    ],
)
def test_how_much_is_observed(
    observe: Literal["terse", "full"] | None, shown: tuple[str, ...]
) -> None:
    environment = Shifted(Talks(), Shift(observe=observe))
    for _ in range(2):  # an episode leaves nothing to the next
        seen = [environment.reset(environment.tasks("train")[0])]
        seen += [environment.step("wait").observation for _ in range(2)]
        assert tuple(item.text for item in seen) == shown
        assert all(item.actions == LISTED for item in seen)


@pytest.mark.parametrize("adapter", [React(), Xml()])
@pytest.mark.parametrize("seed", range(6))
def test_adapters_for_free_text_read_the_new_words(adapter: React, seed: int) -> None:
    environment = house(alias=seed)
    task = environment.tasks("train")[0]
    seen = environment.reset(task)
    view = EpisodeView("house", task, 9, seen)
    for action, original in zip(seen.actions or (), LISTED, strict=True):
        read = call(adapter, "parse", adapter.answer(action), seen, view)
        assert environment._original(read) == original


def test_a_worker_process_has_the_same_interface() -> None:
    shifted = replace(factory("textcraft", alias=2, distract=1), workers=1)
    here, there = shifted.here(), Remote(shifted)
    try:
        task = here.tasks("test")[3]
        assert there.tasks("test")[3] == task
        assert here.reset(task) == there.reset(task)
        assert here.expert(task) == there.expert(task)
        assert here.system_prompt == there.system_prompt
    finally:
        there.close()


def test_it_keeps_the_contract() -> None:
    findings = check(House, shift=Shift(alias=4, distract=2, actions="never")).findings
    states = {finding.check: finding.state for finding in findings}
    assert states["actions"] == states["nonsense"] == states["expert"] == "passed"


def test_a_baseline_behind_another_interface_is_another_one() -> None:
    make = EnvironmentFactory("it", Registered(House, "tests"))

    def key(shift: Shift | None) -> str | None:
        return cache.key("it", replace(make, shift=shift), Choose(), [], "random", 1, None)

    keys = [key(None), key(Shift(alias=1)), key(Shift(alias=2)), key(Shift(distract=1))]
    assert None not in keys
    assert len(set(keys)) == 4


@pytest.mark.parametrize("name", [*CHEAP, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_the_game_is_the_same(name: str) -> None:
    """Each step of the expert has the result it has without an alias, and the expert wins."""
    make = factory(name, alias=3)
    try:
        plain, renamed = replace(make, shift=None).here(), make.here()
    except ContrailError as error:
        pytest.skip(str(error))
    assert isinstance(renamed, Shifted)
    tasks = plain.tasks("test")
    won = 0
    try:
        for task in tasks[:: max(1, len(tasks) // 4)][: 1 if name in SLOW else 4]:
            script, words = plain.expert(task), renamed.expert(task)
            if script is None:
                assert words is None
                continue
            assert words is not None
            assert renamed.reset(task) != plain.reset(task)
            assert not renamed.step(script[0]).valid  # by its old name
            seen, shown = plain.reset(task), renamed.reset(task)
            for action, said in zip(script, words, strict=True):
                _agree(renamed, seen, shown)
                step, other = plain.step(action), renamed.step(said)
                for flag in ("reward", "terminated", "truncated", "success", "valid", "info"):
                    assert getattr(step, flag) == getattr(other, flag), (action, said, flag)
                seen, shown = step.observation, other.observation
                won += step.success
                if step.terminated or step.truncated:
                    break
    finally:
        plain.close()
        renamed.close()
    assert won


def _agree(environment: Shifted, seen: Observation, shown: Observation) -> None:
    """Each listed action has a name of its own, and no text uses the old one."""
    names = list(shown.actions or ())
    assert len(set(names)) == len(set(seen.actions or ()))
    assert environment._renaming is not None
    for action, name in zip(seen.actions or (), names, strict=True):
        assert (name == action) is action.isdecimal()  # the readings of sciworld
        assert environment._original(name) == action
        assert action.isdecimal() or environment._renaming.restore(name) == action
        assert " " not in action or action not in shown.text
