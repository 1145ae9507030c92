"""Questions of reasoning-gym: what is asked, how answers are read, scored and refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

import contrail
from contrail.config import build
from contrail.envs.reasoning_gym.environment import (
    BLOCK,
    EXPRESSIONS,
    LITERALS,
    ReasoningGym,
    ReasoningGymConfig,
)
from contrail.envs.reasoning_gym.expressions import is_plain
from contrail.errors import ConfigError

library = pytest.importorskip("reasoning_gym", reason="needs pip install 'contrail[reasoning-gym]'")

DEEP = "+".join(["(1", *["(1"] * 80]) + ")" * 81


def make(dataset: str, **settings: Any) -> ReasoningGym:
    return ReasoningGym(build(ReasoningGymConfig, {"dataset": dataset, **settings}))


def test_a_task_is_a_question_of_the_dataset_and_its_own_verifier_scores_it() -> None:
    world = make("chain_sum", params={"min_terms": 2, "max_terms": 2})
    theirs = library.create_dataset("chain_sum", seed=0, size=BLOCK, min_terms=2, max_terms=2)
    outside = random.getstate()
    for split in ("train", "test"):
        for task in world.tasks(split)[:5]:
            entry = theirs[task.seed]
            assert world.reset(task) == contrail.Observation(entry["question"])
            step = world.step(f" {entry['answer']}. ")
            assert (step.reward, step.terminated, step.success) == (1.0, True, True)
            after = world.step(entry["answer"])
            assert (after.terminated, after.valid, after.success) == (True, False, False)
            world.reset(task)
            wrong = world.step("no idea")
            assert (wrong.terminated, wrong.success) == (True, False)
            assert wrong.reward == theirs.score_answer("no idea", entry)
    assert random.getstate() == outside
    assert world.max_turns == 1


def test_questions_do_not_depend_on_how_many_there_are() -> None:
    """Question n of any block is drawn from seed n."""
    far = contrail.Task("reasoning-gym", "seed-1004", 1004, "test")
    few, many = make("letter_counting", train_tasks=3), make("letter_counting", train_tasks=2000)
    assert few.reset(far) == many.reset(far)
    theirs = library.create_dataset("letter_counting", seed=1004, size=1)
    assert few.reset(far).text == theirs[0]["question"]
    seeds = {split: {task.seed for task in many.tasks(split)} for split in ("train", "test")}
    assert not seeds["train"] & seeds["test"]
    assert (len(seeds["train"]), len(seeds["test"])) == (2000, 100)


def test_split_by_start_where_questions_repeat() -> None:
    """coin_flip has few questions: its seeds ask most of them again."""
    world = make("coin_flip", split_by="start", train_tasks=20, test_tasks=5)
    asked = {
        split: [world.reset(task).text for task in world.tasks(split)]
        for split in ("train", "test")
    }
    assert not set(asked["train"]) & set(asked["test"])
    assert all(len(set(texts)) == len(texts) for texts in asked.values())


# An answer's own signs, which adapters take away, such as the full stop of a sentence.
SIGNS = ("sentence_reordering", "number_sorting", "group_anagrams", "fraction_simplification")


@pytest.mark.parametrize("dataset", [*SIGNS, "rubiks_cube", "sudoku", "tower_of_hanoi"])
def test_the_expert_is_right_through_the_adapter(dataset: str) -> None:
    from contrail.registry.plugins import load_plugins

    world = make(dataset, train_tasks=2, test_tasks=1)
    adapter = load_plugins().adapters["xml"].value(None)
    for task in world.tasks("train"):
        plan = world.expert(task)
        assert plan is not None
        observation = world.reset(task)
        action = adapter.parse(adapter.answer(plan[0]), observation)
        assert world.step(action).success, (plan, action)


def test_answers_of_several_lines_are_told() -> None:
    world = make("sudoku", train_tasks=2, test_tasks=1)
    world.tasks("train")
    assert "adapter: xml" in world.notes[0]
    plain = make("chain_sum")
    plain.tasks("train")
    assert plain.notes == []


def test_questions_that_follow_the_hash_seed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make("ransom_note", train_tasks=2, test_tasks=1)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    world.tasks("train")
    assert "PYTHONHASHSEED=0" in world.notes[0]
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    world.tasks("train")
    assert world.notes == []


@pytest.mark.parametrize("dataset", [*EXPRESSIONS, *LITERALS])
def test_a_models_text_is_not_run_as_python(
    dataset: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Verifiers hand answers to `eval`, or to sympy, which does."""
    world = make(dataset, train_tasks=1, test_tasks=1)
    (task,) = world.tasks("train")
    target = tmp_path / "made"
    for text in (
        f"open({str(target)!r}, 'w')",
        f"__import__('pathlib').Path({str(target)!r}).touch()",
        f"[open({str(target)!r}, 'w')]",
        "9**9**9**9",
        "[9] * 10**9",
        DEEP * 30,
        "\0\ud800",
    ):
        world.reset(task)
        step = world.step(text)
        assert (step.terminated, step.success) == (True, False)
        assert step.reward < 1
    assert not target.exists()
    plan = world.expert(task)
    assert plan is not None
    world.reset(task)
    assert world.step(plan[0]).success


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("49*(85 - 1)/14 - 42 - 73", True),
        ("7*X**9 - 2*X**6 + C", True),
        ("3*Integral(x**3*cos(3*x), x) + C", True),
        ("exp(-x**2)*x**(-1)", True),
        ("(x**2)**3", True),
        ("9**9**9", False),
        ("((9**9)**9)**9", False),
        ("x**51", False),
        ("x**(25*25)", False),
        ("open(x)", False),
        ("x.y", False),
        ("x[0]", False),
        ("__import__", False),
        ("'a'*9", False),
        ("lambda: 1", False),
        ("cos(x, evaluate=True)", False),
        ("1 if x else 2", False),
        ("x" * 3000, False),
        ("", False),
    ],
)
def test_which_expressions_are_evaluated(text: str, plain: bool) -> None:
    assert is_plain(text) is plain


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dataset": "chain_sums"}, "Did you mean 'chain_sum'"),
        ({"dataset": "chain_sum", "params": {"min_term": 1}}, "'min_terms'"),
        ({"dataset": "chain_sum", "params": {"seed": 1}}, "train_tasks"),
        ({"dataset": "chain_sum", "params": {"min_terms": 9, "max_terms": 2}}, "refuses"),
        ({"dataset": "composite"}, "refuses"),
        ({"dataset": "chain_sum", "test_tasks": 0}, "1 or more"),
    ],
)
def test_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        ReasoningGym(build(ReasoningGymConfig, settings))
    assert words in str(error.value)


def test_a_mixture_of_datasets() -> None:
    mixed = make(
        "composite",
        params={"datasets": [{"name": "chain_sum"}, {"name": "gcd", "config": {"max_value": 20}}]},
    )
    asked = {mixed.reset(task).text[:8] for task in mixed.tasks("train")[:20]}
    assert len(asked) > 1
    assert all(mixed.expert(task) for task in mixed.tasks("train")[:5])
    assert "composite" not in [settings["dataset"] for settings, _ in ReasoningGym.catalogue()]
