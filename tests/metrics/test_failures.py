"""Failure modes on hand-made episodes, and every place in which they are shown."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import contrail
from contrail import Episode, FailureContext, FailureRule, PluginError, Task, Turn
from contrail.metrics.failures import Diagnosis, count
from contrail.plugins.failures.modes import RULES
from contrail.plugins.reports import why
from contrail.registry.plugins import Plugins
from contrail.runs.launch import run_stream

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOP = FailureContext(
    max_turns=10,
    finishing=(r"click\[buy now\]",),
    verifying=(r"click\[(description|features)\]",),
    idle=("wait",),
)
RULE = {rule.name: rule for rule in RULES}


def episode(*steps: tuple[str, str | None], ended: str = "max_turns", **values: Any) -> Episode:
    """An episode of (observation, action); an action of None is an answer without one."""
    turns = [
        Turn(
            [1], [2], [0.0], [0.0],
            observation=seen,
            text="Hm." if action is None else action,
            action=action,
            valid=action is not None,
        )
        for seen, action in steps
    ]  # fmt: skip
    return Episode("shop", Task("shop", "1", 1, "test"), 0, turns, ended, **values)


def seen(*observations: str) -> list[tuple[str, str]]:
    """The same action after each observation."""
    return [(text, "left") for text in observations]


WALK = [("hall", "left"), ("room", "right")]
ANSWERS = [("a", "click[x]"), ("b", "click[y]"), ("c", "click[Buy Now]")]


@pytest.mark.parametrize(
    ("rule", "played", "turn"),
    [
        ("repeats", episode(*seen("goal", "wall", "wall")), 3),
        ("repeats", episode(("goal", "look"), *seen("far", "wall", "wall", "wall")), 4),
        ("repeats", episode(*seen("one", "two", "three", "four")), None),  # it gets on
        ("repeats", episode(*seen("goal", "wall")), None),
        ("repeats", episode(("a", "x"), ("b", "y"), ("b", "x"), ("b", "y")), None),
        ("repeats", episode(("goal", None), ("no", None), ("no", None)), 3),
        ("loops", episode(*WALK, *WALK), 4),
        ("loops", episode(("start", "go"), *WALK, ("end", "x"), *WALK, ("end", "x")), 7),
        ("loops", episode(*WALK, ("hall", "left"), ("yard", "right")), None),
        ("loops", episode(*seen("a", "a", "a", "a", "a")), None),  # that is a repetition
        ("invalid", episode(("a", "x"), ("b", None), ("c", None)), 2),
        ("invalid", episode(("a", "x")), None),
        ("gives_up", episode(*ANSWERS, ended="terminated"), 3),
        ("gives_up", episode(*WALK, *WALK, *ANSWERS, ended="terminated"), None),  # in turn 7 of 10
        ("gives_up", episode(("a", "x"), *[("b", "wait")] * 3), 2),
        ("gives_up", episode(*[("b", "wait")] * 2, ended="max_context"), None),
        ("gives_up", episode(*WALK, *WALK, *WALK, *[("b", "wait")] * 4), None),  # from turn 7 on
        ("gives_up", episode(*[("b", "wait")] * 4, ("b", "x")), None),  # it begins again
        ("gives_up", episode(("a", "x"), ("b", "y"), ended="terminated"), None),  # it was killed
        ("unchecked", episode(*ANSWERS, ended="terminated"), 3),
        ("unchecked", episode(("a", "click[features]"), *ANSWERS, ended="terminated"), None),
        ("unchecked", episode(*ANSWERS[:2], ended="terminated"), None),
        ("unchecked", episode(*ANSWERS, ended="max_turns"), None),
        ("out_of_turns", episode(*WALK), 2),
        ("out_of_turns", episode(*WALK, ended="truncated"), 2),
        ("out_of_turns", episode(*WALK, ended="terminated"), None),
        ("out_of_context", episode(*WALK, ended="max_context"), 2),
        ("out_of_context", episode(ended="max_context"), 0),
        ("out_of_context", episode(*WALK), None),
        ("cut_off", episode(*WALK), None),
    ],
)
def test_rules(rule: str, played: Episode, turn: int | None) -> None:
    assert RULE[rule].shows(played, SHOP) == turn


def test_a_check_that_was_refused_is_none() -> None:
    played = episode(("a", "click[features]"), *ANSWERS, ended="terminated")
    played.turns[0].valid = False
    assert RULE["unchecked"].shows(played, SHOP) == 4


def test_what_is_written_after_the_answer_checks_nothing() -> None:
    tags = FailureContext(
        finishing=(".*<answer>.*</answer>.*",), verifying=(".*<search>.*</search>.*",)
    )
    answer = ("who?", "<answer>she</answer> <search>who is it</search>")
    assert RULE["unchecked"].shows(episode(answer, ended="terminated"), tags) == 1


def test_a_turn_that_was_cut_off() -> None:
    played = episode(*WALK)
    played.turns[1].cut_off = True
    assert RULE["cut_off"].shows(played, SHOP) == 2


def test_without_words_of_the_environment_nothing_is_said_of_them() -> None:
    played = episode(*ANSWERS, ended="terminated")
    for name in ("gives_up", "unchecked"):
        assert RULE[name].shows(played, FailureContext()) is None


def test_only_failures_of_the_agent_are_diagnosed() -> None:
    won = episode(*seen("a", "b", "b"), ended="terminated", success=True)
    broke = episode(*seen("a", "b", "b"), ended="fault", fault="it broke")
    lost = episode(*seen("a", "b", "b"))
    fine = episode(*seen("a", "b"), ended="terminated")
    played = [won, broke, lost, fine]
    Diagnosis(RULES, {"shop": SHOP})(played)
    assert [item.failures for item in played] == [{}, {}, {"repeats": 3, "out_of_turns": 3}, {}]
    assert count(played) == {
        "episodes": 3,
        "failed": 2,
        "modes": {"repeats": 1, "out_of_turns": 1},
    }
    assert lost.record()["failures"] == lost.failures
    assert "failures" not in won.record()


def test_the_limit_is_that_of_the_instance_that_played() -> None:
    """An instance may set its own `max_turns`, which its class does not know."""
    idle = [("b", "wait")] * 4
    for limit, turn in ((10, None), (50, 7)):  # of SHOP, whose half is 5; and of the instance
        played = episode(*WALK, *WALK, *WALK, *idle)
        played.max_turns = limit
        Diagnosis(RULES, {"shop": SHOP})([played])
        assert played.failures.get("gives_up") == turn


def test_every_rule_is_calm_about_an_episode_without_a_turn() -> None:
    for ended in ("terminated", "max_turns", "max_context", "invalid"):
        played = episode(ended=ended)
        Diagnosis(RULES, {})([played])
        assert set(played.failures) <= {"out_of_context", "out_of_turns"}


PLUGIN = """
import contrail

@contrail.hookimpl
def contrail_failures(register):
    register(contrail.FailureRule("loses", lambda episode, context: 1, "loses"))
"""


def test_a_run_counts_and_logs_them(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "guess.py", tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "stream.yaml").write_text(
        "model: tiny-random\nplugins: [guess.py, mine.py]\n"
        "stream: [{environment: {name: guess-number, max_turns: 3}, updates: 1}]\n"
        "evaluate: {tasks: 4, samples: 2, baselines: false}\n"
        "grpo: {num_generations: 2, generation_batch_size: 4}\n"
    )
    run = run_stream(tmp_path / "stream.yaml", out=tmp_path / "run", quiet=True).path
    result = json.loads((run / "result.json").read_text())
    assert result["failure_modes"]["loses"] == "loses"
    assert list(result["failure_modes"])[: len(RULES)] == list(RULE)
    logged = {}
    for kind in ("evaluate", "train"):
        with gzip.open(run / f"episodes/001-{kind}.jsonl.gz", "rt") as lines:
            logged[kind] = [json.loads(line) for line in lines]
    counts = result["evaluations"][1]["guess-number"]["failures"]
    failed = [line for line in logged["evaluate"] if not line["success"]]
    assert counts["episodes"] == 8
    assert counts["failed"] == len(failed) == counts["modes"]["loses"] > 0
    assert counts["modes"]["out_of_turns"] == counts["failed"]
    assert all(line["failures"]["out_of_turns"] == 3 for line in failed)
    assert all(line["success"] != ("failures" in line) for line in logged["train"])
    assert why.failures(result)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("loops", "register a contrail.FailureRule"),
        (FailureRule("No!", lambda episode, context: None), "needs another name"),
        (FailureRule("nothing", 3), "must be a function"),  # type: ignore[arg-type]
        (FailureRule("loops", lambda episode, context: None), "already has"),
    ],
)
def test_what_is_no_rule_is_refused(rule: Any, message: str) -> None:
    plugins = Plugins()
    for found in RULES:
        plugins.register_failure("failures", found)
    module = ModuleType("mine")

    @contrail.hookimpl
    def contrail_failures(register: Any) -> None:
        register(rule)

    module.contrail_failures = contrail_failures  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=message):
        plugins.add(module, "mine")


@pytest.mark.parametrize("turn", [3, -1, "two", False, 1.0])
def test_a_rule_that_names_no_turn_is_blamed(turn: Any) -> None:
    rule = FailureRule("odd", lambda episode, context: turn, plugin="mine")
    with pytest.raises(PluginError, match=r"'odd' \(plugin 'mine'\) of the task '1' of 'shop'"):
        Diagnosis([rule], {})([episode(*WALK)])


def test_patterns_of_the_environments_that_ship() -> None:
    plugins = contrail_plugins()
    expected = {
        "webshop": ("click[Buy Now]", "click[Features]", None),
        "searchqa": ("<answer>Paris</answer>", "Thought. <search>x</search>", None),
        "sciworld": ("focus on apple", "look at apple", "wait1"),
        "textcraft": (None, None, "inventory"),
        "alfworld": (None, None, "look"),
    }
    for name, actions in expected.items():
        context = FailureContext.of(plugins.environments[name].value)
        turns = [Turn([], [], [], [], action=action, text=action or "-") for action in actions]
        asked = (context.finishes, context.verifies, context.idles)
        for turn, ask in zip(turns, asked, strict=True):
            assert ask(turn) == (turn.action is not None), (name, turn.action)
            assert not ask(Turn([], [], [], [], action="go north", text="go north"))


def contrail_plugins() -> Plugins:
    from contrail.registry.plugins import load_plugins

    return load_plugins()
