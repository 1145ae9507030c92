"""How webshop rewards a purchase and reads an instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[webshop]'")
pytest.importorskip("rapidfuzz", reason="needs pip install 'contrail[webshop]'")

from contrail.envs.webshop.goals import queries
from contrail.envs.webshop.reward import Goal, Product, alike_option, reward, title_nouns

SHOE = Product(
    asin="S",
    title="Acme Running Shoe for Men, Red",
    category="fashion",
    query="shoes",
    path=("Clothing", "Men", "Shoes"),
    description="Stays comfortable all day.",
    features=("Non slip sole", "Breathable mesh"),
    reviews=(),
    rating="N.A.",
    attributes=("non slip", "light weight"),
    options={"color": ("red", "navy blue"), "size": ("8", "9")},
    price=35.0,
    price_text="$35.0",
)
GOAL = Goal("Find me …", SHOE, ("non slip", "breathable"), ("red", "9"), 40.0)


@pytest.mark.parametrize(
    ("change", "chosen", "expected"),
    [
        ({}, ["red", "9"], 1.0),
        ({}, ["9", "red"], 1.0),
        ({}, ["red", "8"], 4 / 5),
        ({}, [], 3 / 5),
        ({"price": 40.5}, ["red", "9"], 4 / 5),
        ({"attributes": ("slip non",)}, ["red", "9"], 1.0),
        ({"attributes": (), "features": ()}, ["red", "9"], 3 / 5),
        ({"attributes": (), "features": (), "description": "Breathable"}, ["red", "9"], 4 / 5),
        # Another kind of thing: neither query nor path nor title agree enough.
        ({"query": "x", "path": ()}, ["red", "9"], 1.0),
        ({"query": "x", "path": (), "title": "Acme Table"}, ["red", "9"], 1 / 2),
        ({"query": "x", "path": ("Men", "Shoes"), "title": "Acme Table"}, ["red", "9"], 1.0),
        ({"query": "x", "path": ("Men",), "title": "Acme Table"}, ["red", "9"], 1 / 2),
        ({"title": "Acme Table"}, ["red", "9"], 1.0),
        ({"title": "Wooden Table"}, ["red", "9"], 0.0),
    ],
)
def test_reward(change: dict[str, Any], chosen: list[str], expected: float) -> None:
    assert title_nouns(SHOE.title) == {"acme", "running", "shoe", "men", "red"}
    assert reward(GOAL, replace(SHOE, **change), chosen) == pytest.approx(expected)


def test_few_shared_nouns_are_worth_a_tenth() -> None:
    wanted = replace(SHOE, title=" ".join(f"word{letter}x" for letter in "abcdefghijklmnop"))
    goal = replace(GOAL, product=wanted)
    assert reward(goal, replace(SHOE, title="wordax"), ["red", "9"]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("navy blue", "sky blue", True),
        ("red", "blue", False),
        ("9.5", "8.5", False),
        ("x-large", "large", True),  # the original cannot tell them apart either
        ("pack of 2", "box of 12", False),
        ("❤", "❤", True),
        ("❤", "★", False),
    ],
)
def test_options_alike(one: str, other: str, alike: bool) -> None:
    assert alike_option(one, other) is alike


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        (
            "Find me slim fit shirts with long sleeve with color: red, and size: big, and price "
            "lower than 40.00 dollars",
            [
                "slim fit shirts with long sleeve with color: red, and size: big",
                "slim fit shirts with long sleeve",
                "slim fit shirts long sleeve red big",
            ],
        ),
        ("i am looking for a lamp", ["lamp"]),
        ("木", ["木"]),
    ],
)
def test_queries(instruction: str, expected: list[str]) -> None:
    found = queries(instruction)
    assert [query for query in expected if query not in found] == []
