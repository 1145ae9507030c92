"""SearchQA with `like: agentgym`: its order of questions, its tags, another try."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("bm25s", reason="needs pip install 'contrail[searchqa]'")

from contrail import ConfigError
from contrail.envs.searchqa import SearchQA, SearchQAConfig

RIVERS = {"Rhine": "Basel", "Seine": "Paris", "Po": "Turin", "Elbe": "Dresden", "Ebro": "Tudela"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    corpus = [{"title": r, "text": f"The {r} flows through {c}."} for r, c in RIVERS.items()]
    asked = [
        {"question": f"Where does the {r} flow?", "golden_answers": [c, f"the city of {c}"]}
        for r, c in RIVERS.items()
    ]
    (tmp_path / "corpus.json").write_text(json.dumps(corpus))
    # A question that is in both files is not left out here.
    (tmp_path / "test.json").write_text(json.dumps(asked[:3]))
    (tmp_path / "train.json").write_text(json.dumps([asked[4], asked[0], asked[3]]))
    return tmp_path


def qa(data: Path, **more: str) -> SearchQA:
    return SearchQA(SearchQAConfig(data=str(data), like="agentgym", **more))


def test_the_test_comes_first_in_the_order_of_the_files(data: Path, tmp_path: Path) -> None:
    environment = qa(data)
    asked = {
        split: [(task.id, environment.reset(task).text) for task in environment.tasks(split)]
        for split in ("test", "train")
    }
    assert asked["test"] == [
        (f"agentgym-{n}", f"Question: Where does the {river} flow?")
        for n, river in enumerate(["Rhine", "Seine", "Po"])
    ]
    assert asked["train"] == [
        (f"agentgym-{n}", f"Question: Where does the {river} flow?")
        for n, river in enumerate(["Ebro", "Rhine", "Elbe"], 3)
    ]
    assert environment.max_turns == 5
    assert not environment.notes


def test_a_file_says_which_are_tested(data: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(json.dumps([{"item_id": "searchqa_2"}, {"item_id": "searchqa_4"}]))
    environment = qa(data, test_ids=str(ids))
    assert [task.id for task in environment.tasks("test")] == ["agentgym-2"]
    assert len(environment.tasks("train")) == 3
    ids.write_text(json.dumps(["searchqa_5"]))
    with pytest.raises(ConfigError, match="names none of the 3 questions"):
        qa(data, test_ids=str(ids))
    with pytest.raises(ConfigError, match="exact match"):
        qa(data, reward="f1")
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("corpus.json", "test.json"):
        shutil.copy(data / name, alone)
    with pytest.raises(ConfigError, match="two files"):
        qa(alone)


def test_a_play(data: Path) -> None:
    environment = qa(data)
    environment.reset(environment.tasks("test")[1])
    step = environment.step("<think>I must <search> Seine flows </search> first.</think>")
    assert step.valid
    text = step.observation.text
    assert text.startswith(
        "<information>Doc 1(Title: Seine) The Seine flows through Paris.\nDoc 2("
    )
    assert text.endswith("</information>")
    assert text.count("Doc ") == 3
    for nonsense in ("Paris", "<Answer>Paris</Answer>", "<answer>Paris", "<search>x</answer>"):
        step = environment.step(nonsense)
        assert not step.valid
        assert not step.terminated
        assert step.reward == 0
    for wrong in ("<answer>Basel</answer>", "<answer>Paris</answer> or <answer>Basel</answer>"):
        step = environment.step(wrong)
        assert step.valid
        assert not step.terminated
        assert step.reward == 0
    # The first tags decide: this is a search.
    assert not environment.step("<search>Seine</search><answer>Paris</answer>").terminated
    step = environment.step("<answer> Basel </answer><search>x</search><answer>The Paris!</answer>")
    assert step.terminated
    assert step.success
    assert step.reward == 1
    assert not environment.step("<answer>Paris</answer>").valid


def test_the_expert_answers(data: Path) -> None:
    environment = qa(data)
    for task in environment.tasks("test"):
        environment.reset(task)
        for action in environment.expert(task) or ():
            step = environment.step(action)
        assert step.success
