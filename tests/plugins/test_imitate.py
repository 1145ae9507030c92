"""The objective `imitate`: demonstrations, their likelihood, and runs that learn from them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playing import Make, Words, brute_force, pool
from rooms import Rooms

import contrail
from contrail import ConfigError, ContrailError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React
from contrail.plugins.adapters.xml import Xml
from contrail.plugins.objectives.imitate import Imitate
from contrail.progress.reporter import line
from contrail.seeding import generator

from learning import config  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.model.policy import Policy  # isort: skip
from contrail.rollout.play import Job, play  # isort: skip
from contrail.rollout.script import Move, no_sampler  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip
from contrail.training.scorer import PlainScorer  # isort: skip

PLUGIN = '''
import contrail

COLOURS = ("red", "green", "blue", "grey")

class Doors(contrail.Environment):
    """Two turns: look, then open the grey door."""

    max_turns = 3

    def tasks(self, split):
        begin = {"train": 0, "test": 1000}[split]
        return [contrail.Task("doors", f"{split}/{n}", begin + n, split) for n in range(24)]

    def reset(self, task):
        return contrail.Observation("You stand in a hall.", ["look", "sleep"])

    def step(self, action):
        if action == "look":
            doors = list(COLOURS)
            return contrail.Step(contrail.Observation("You see four doors.", doors))
        won = action == "grey"
        seen = contrail.Observation("Done.", ["wait"])
        return contrail.Step(seen, reward=float(won), terminated=True, success=won)

    def expert(self, task):
        if task.id == "train/3":
            return None
        last = "red" if task.id == "train/5" else "grey"
        return ["look", last]

class Hall(Doors):
    expert = contrail.Environment.expert

class Silent(Doors):
    def expert(self, task):
        return None

@contrail.hookimpl
def contrail_environments(register):
    register("doors", Doors)
    register("hall", Hall)
    register("silent", Silent)
'''

STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "plugins": ["doors.py"],
    "stream": [{"environment": "doors", "updates": 6, "learn": "imitate"}],
    "evaluate": {"tasks": 24, "baselines": False},
    "grpo": {
        "num_generations": 4,
        "generation_batch_size": 16,
        "learning_rate": 5e-3,
        "temperature": 0.1,
    },
    "lora": {"r": 4},
}

Run = Callable[..., contrail.Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the stream, with some keys changed."""
    (tmp_path / "doors.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)

    def go(name: str = "run", **changes: Any) -> contrail.Result:
        return contrail.run({**STREAM, **changes}, out=tmp_path / name, quiet=True)

    return go


def stage(**changes: Any) -> dict[str, Any]:
    return {**STREAM["stream"][0], **changes}


def demonstrate(
    policy: Policy, adapter: contrail.Adapter, moves: list[str | Move]
) -> list[Episode]:
    jobs = [
        Job("rooms", task, adapter, generator(0), script=[*map(_move, moves)])
        for task in Rooms().tasks("train")[:2]
    ]
    return play(policy, pool(), jobs, open_sampler=no_sampler)


def _move(move: str | Move) -> Move:
    return move if isinstance(move, Move) else Move(move)


def test_choices_have_the_tokens_that_the_policy_had(make_tiny: Make) -> None:
    policy = make_tiny(True)
    tasks = Rooms().tasks("train")[:4]
    jobs = [Job("rooms", task, Choose(), generator(0, task.id)) for task in tasks]
    for played, job in zip(play(policy, pool(), jobs), jobs, strict=True):
        script = [turn.text for turn in played.turns]
        [shown] = play(policy, pool(), [replace(job, script=script)], open_sampler=no_sampler)
        assert shown.demonstrated
        assert (shown.token_ids, shown.mask) == (played.token_ids, played.mask)
        assert [turn.choices for turn in shown.turns] == [turn.choices for turn in played.turns]
        assert [turn.action for turn in shown.turns] == [turn.action for turn in played.turns]
        ended = "gave_up" if played.ended == "max_turns" else played.ended
        assert shown.ended in (ended, played.ended)
        assert shown.reward == played.reward
        assert len(shown.logprobs) == len(played.logprobs)
        assert not any(shown.logprobs)


def test_free_text_has_the_tokens_of_the_chat_template(make_tiny: Make) -> None:
    policy = make_tiny()
    [episode, _] = demonstrate(policy, Words(), ["go", "look", "wait"])
    messages = [{"role": "system", "content": Words().system(Rooms())}]
    for turn in episode.turns:
        messages += [
            {"role": "user", "content": turn.observation},
            {"role": "assistant", "content": turn.text},
        ]
    written = policy.chat.tokenizer.apply_chat_template(messages)["input_ids"]
    assert episode.token_ids == written[: len(episode.token_ids)]
    assert len(written) - len(episode.token_ids) <= 1  # a line break after the last turn
    assert sum(episode.mask) == len(episode.logprobs)


def test_what_the_policy_could_not_have_done_ends_the_demonstration(make_tiny: Make) -> None:
    policy = make_tiny()
    first, second = demonstrate(policy, Choose(), ["go", "fly"])  # the second task has no "go"
    assert (first.ended, len(first.turns)) == ("not_allowed", 1)
    assert (second.ended, len(second.turns)) == ("not_allowed", 0)
    [ended, _] = demonstrate(policy, Choose(), ["go"])
    assert (ended.ended, ended.success) == ("gave_up", False)
    short = React(React.Config(max_new_tokens=3))
    [long, _] = demonstrate(policy, short, ["go left now"])
    assert long.ended == "too_long"


def test_free_text_ends_where_the_policy_s_would(make_tiny: Make) -> None:
    """After `</action>` the sampler writes nothing more: the end of the turn is not the model's."""
    policy = make_tiny()
    [episode, _] = demonstrate(policy, Xml(), ["go", "look"])
    assert [policy.chat.text(turn.written) for turn in episode.turns] == [
        "<action>go</action>",
        "<action>look</action>",
    ]
    assert policy.chat.end not in [turn.written[-1] for turn in episode.turns]
    assert not any(turn.cut_off for turn in episode.turns)
    length = len(episode.turns[0].written)
    for limit, ended in ((length, "gave_up"), (length - 1, "too_long")):
        [episode, _] = demonstrate(policy, Xml(Xml.Config(max_new_tokens=limit)), ["go"])
        assert episode.ended == ended
    two = "<search>a</search> <search>b</search>"  # the first end is the end
    [episode, _] = demonstrate(policy, Xml(), [two])
    assert (episode.ended, episode.turns) == ("not_allowed", [])


def test_words_that_the_adapter_reads_otherwise_are_replaced(make_tiny: Make) -> None:
    policy = make_tiny()
    said = "Thought:\nI see.\n\nAction:\ngo left"
    [kept, _] = demonstrate(policy, React(), [Move("go left", said)])
    [replaced, _] = demonstrate(policy, React(), [Move("go", said)])
    assert kept.turns[0].text == said
    assert replaced.turns[0].text == React().answer("go")


@pytest.mark.parametrize("adapter", [Choose(), React()])
@pytest.mark.parametrize("plain", [False, True])
def test_the_loss_is_the_mean_likelihood_of_what_succeeded(
    make_tiny: Make, tmp_path: Path, adapter: contrail.Adapter, plain: bool
) -> None:
    policy = make_tiny(True)
    learner = Learner(policy, config(tmp_path, temperature=0.7), PlainScorer() if plain else None)
    learner.begin(1, Imitate())
    episodes = demonstrate(policy, adapter, ["go", "look"])
    episodes[0].success, episodes[1].success = True, False
    [weights] = learner.objective.weights(learner, [[e] for e in episodes], [[0, 1]])
    loss = learner.gradients(Batch.of(episodes, weights))
    expected = brute_force(policy, episodes[0], 0.7)
    assert loss == pytest.approx(-sum(expected) / len(expected), abs=1e-4)
    gradients = [item.grad for item in policy.parameters.values()]
    assert any(item is not None and bool(item.any()) for item in gradients)


def test_a_policy_learns_what_it_is_shown(run: Run) -> None:
    found = run(stream=[stage(updates=25), stage(name="again", updates=1, learn="grpo")])
    before, after, _ = found.R[:, 0]
    assert before < 0.5
    assert after > 0.9
    budget = found.record["budget"]
    assert budget["episodes"] == 26 * 16
    assert budget["demonstrations"] == 25 * 16
    shown = [e for e in found.episodes() if e.get("demonstrated")]
    assert {e["split"] for e in shown} == {"train"}
    assert not any(e["success"] for e in shown if e["task"] in ("train/3", "train/5"))


def test_a_learning_rate_is_of_its_stages_alone(run: Run) -> None:
    def R(name: str, imitate: Any, rate: float) -> Any:
        stages = [stage(learn=imitate), stage(name="next", learn="grpo", updates=2)]
        grpo = {**STREAM["grpo"], "learning_rate": rate}
        return run(name, stream=stages, grpo=grpo).R[:, 0].tolist()

    still = R("a", {"name": "imitate", "learning_rate": 0.0}, 2e-2)
    assert still[0] == still[1]
    moved = R("b", {"name": "imitate", "learning_rate": 5e-3}, 0.0)
    assert moved[1] > moved[0]
    assert moved[2] == moved[1]


def test_recorded_episodes(run: Run, tmp_path: Path) -> None:
    first = run("first", stream=[stage(updates=2)])
    copied = run("copied", stream=[stage(learn={"name": "imitate", "episodes": "first"})])
    shown = [e for e in copied.episodes() if e.get("demonstrated")]
    known = {e["task"] for e in first.episodes() if e["success"] and e["split"] == "train"}
    assert {e["task"] for e in shown} <= known
    assert all(e["success"] for e in shown)

    file = tmp_path / "mine.jsonl"
    turns = [{"action": a} for a in ("look", "sleep", None, "grey")]
    own = {"task": "train/7", "success": True, "turns": turns}
    leaked = {**own, "task": "test/7"}
    tested = {**own, "split": "test", "turns": [{"action": "look"}, {"action": "red"}]}
    file.write_text("".join(json.dumps(record) + "\n" for record in (own, leaked, tested)))
    # One cannot sleep after looking.
    refused = "none of the update's 16 demonstrations of 1 task of doors succeeded: the adapter"
    with pytest.raises(ContrailError, match=refused):
        run("sleeping", stream=[stage(learn={"name": "imitate", "episodes": "mine.jsonl"})])
    turns[1]["action"] = None
    file.write_bytes(gzip.compress(json.dumps(own).encode()))
    mine = run("mine", stream=[stage(learn={"name": "imitate", "episodes": "mine.jsonl"})])
    assert {e["task"] for e in mine.episodes() if e.get("demonstrated")} == {"train/7"}
    assert any(
        "learns from 1 of 24 training tasks of doors" in note for note in mine.record["notes"]
    )


def test_a_separator_of_unicode_within_a_text_ends_no_line(run: Run, tmp_path: Path) -> None:
    turns = [{"action": "look", "text": "I\u2028look\x85"}, {"action": "grey"}]
    own = {"task": "train/7", "success": True, "turns": turns}
    (tmp_path / "mine.jsonl").write_text(json.dumps(own, ensure_ascii=False) + "\r\n\n", "utf-8")
    mine = run(
        "mine", stream=[stage(updates=1, learn={"name": "imitate", "episodes": "mine.jsonl"})]
    )
    assert {e["task"] for e in mine.episodes() if e.get("demonstrated")} == {"train/7"}


EMPTY = '{"task": "train/1", "success": true, "turns": []}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "mine.jsonl: no such file or directory"),
        ("{}\n", "mine.jsonl, line 1: `task` must be text, but is missing or null. A line is"),
        (EMPTY + "\nx", "mine.jsonl, line 2: it is no JSON (Expecting value, column 1)"),
        (EMPTY.replace("train", "test"), "Its tasks 'test/1' are no training tasks of the stage"),
        (EMPTY.replace("true", "false"), "holds no successful episode"),
        (EMPTY.replace("true", "1"), "line 1: `success` must be true or false, but is a number"),
        (EMPTY.replace("[]", '"look"'), "`turns` must be a list, but is text"),
        (EMPTY.replace("[]", '["look"]'), "turn 1 has no `action`"),
        (EMPTY.replace("[]", '[{"action": 5}]'), "`action` of turn 1 must be text, but is a num"),
        (f"[{EMPTY}]", "line 1: it is a list, no object"),
        ("caf\xe9", "mine.jsonl: byte 3 is no UTF-8"),
        ("\x1f\x8b", "mine.jsonl: it cannot be read (EOFError"),
        ("\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff", "mine.jsonl: it cannot be read (error"),
        ("[" * 100_000, "mine.jsonl, line 1: it cannot be read (RecursionError"),
    ],
)
def test_files_that_teach_nothing_are_refused(
    run: Run, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "mine.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"stream\.0\.learn\.episodes.*") as caught:
        run(stream=[stage(learn={"name": "imitate", "episodes": "mine.jsonl"})])
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["imitate", "self"])
def test_an_environment_without_expert_is_refused(run: Run, tmp_path: Path, objective: str) -> None:
    with pytest.raises(ConfigError, match=r"stream\.1\.learn: 'hall' has no expert"):
        run(stream=[stage(), stage(environment="hall", learn=objective)])
    plain = [stage(learn="grpo"), stage(environment="hall", learn="grpo")]
    with pytest.raises(ConfigError, match=r"warmup\.learn: 'hall' has no expert"):
        run(stream=plain, warmup={"updates": 1, "learn": objective})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["imitate", "self"])
@pytest.mark.parametrize("strategy", ["replay", "review"])
def test_replayed_tasks_without_expert_are_refused(
    run: Run, tmp_path: Path, objective: str, strategy: str
) -> None:
    stages = [stage(environment="hall", learn="grpo", updates=1), stage(learn=objective, updates=1)]
    with pytest.raises(
        ConfigError, match=r"stream\.1\.learn: 'hall' has no expert .* the strategy replays"
    ):
        run(stream=stages, strategy=strategy)
    assert not (tmp_path / "run").exists()
    other = {"name": "replay", "mode": "episodes"} if strategy == "replay" else "distill"
    assert run(stream=stages, strategy=other)  # these learn old tasks in another way


def test_an_expert_without_a_play_is_told(run: Run) -> None:
    with pytest.raises(ContrailError, match=r"'silent' has no expert for any of the tasks"):
        run(stream=[stage(environment="silent")])


@pytest.mark.parametrize("strategy", ["kl", "retain"])
def test_strategies_that_would_do_nothing_are_refused(run: Run, strategy: str) -> None:
    stages = [stage(updates=1), stage(name="again", updates=1)]
    with pytest.raises(ConfigError, match=r"the stage 'again' learns without them"):
        run(stream=stages, strategy=strategy)
    assert run(stream=[stages[0], stage(name="rl", updates=1, learn="grpo")], strategy=strategy)


def test_learning_rate_0_changes_nothing(run: Run) -> None:
    found = run(grpo={**STREAM["grpo"], "learning_rate": 0.0})
    assert found.R[0].tolist() == found.R[1].tolist()


def test_replay_after_stages_that_were_learnt_in_different_ways(run: Run) -> None:
    stages = [stage(updates=1), stage(updates=1, learn="grpo"), stage(environment="hall")]
    stages[2].update(updates=1, learn="grpo")
    result = run(strategy="replay", stream=stages)
    last = result.record["played"][-1]
    assert last == {"doors": 8, "hall": 8}


def test_replayed_tasks_are_learnt_as_those_of_the_stage(run: Run, tmp_path: Path) -> None:
    """From experts, or from recordings; these are refused where an environment has none."""
    first = stage(environment={"name": "doors", "label": "first"}, updates=1, learn="grpo")
    itself = run("self", strategy="replay", stream=[first, stage(updates=1, learn="self")])
    assert itself.record["played"][-1].keys() == {"first", "doors"}

    turns = [{"action": action} for action in ("look", "grey")]

    def recorded(*labels: str) -> dict[str, str]:
        lines = [
            {"task": f"train/{n}", "success": True, "turns": turns, "environment": label}
            for label in labels
            for n in range(24)
        ]
        name = "-".join(labels)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return {"name": "imitate", "episodes": f"{name}.jsonl"}

    learn = recorded("first", "doors")
    both = run("both", strategy="replay", stream=[first, stage(updates=1, learn=learn)])
    shown = [e for e in both.episodes() if e.get("demonstrated")]
    assert {e["environment"] for e in shown} == {"first", "doors"}
    assert all(e["success"] for e in shown)
    expected = r"stream\.1\.learn\.episodes: .* of 'first'\. It has successful ones of 'doors'"
    with pytest.raises(ConfigError, match=expected):
        run("no", strategy="replay", stream=[first, stage(updates=1, learn=recorded("doors"))])
    assert not (tmp_path / "no").exists()


def test_answers_that_are_too_long_are_told(run: Run) -> None:
    words = "Their answers are longer than the adapter allows: raise its max_new_tokens"
    with pytest.raises(ContrailError, match=words):
        run(adapter={"name": "react", "max_new_tokens": 3}, stream=[stage(learn="imitate")])
    said = line({"loss": 1.0, "failed_demonstrations": 0.5, "too_long_demonstrations": 0.25})
    assert said == "loss 1.000, failed demonstrations 50%, longer than max_new_tokens 25%"
