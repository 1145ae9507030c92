"""The objective `self`: what the teacher is shown, what is left out, and runs that are killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from killed import check_killed
from thinking import TEMPLATES, thinking_policy

import contrail
from contrail import ConfigError, ContrailError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React
from contrail.plugins.objectives.distillation import SelfConfig, SelfDistill
from contrail.rollout.prompts import next_prompt
from contrail.training.advantages import environment_weights

PLUGIN = '''
import contrail

class Hall(contrail.Environment):
    """Two turns: look, then open the grey door."""

    system_prompt = "You are in a house."
    max_turns = 3

    def tasks(self, split):
        begin = {"train": 0, "test": 1000}[split]
        return [contrail.Task("hall", f"{split}/{n}", begin + n, split) for n in range(24)]

    def reset(self, task):
        return contrail.Observation(f"You stand in hall {task.seed}.", ["look", "sleep"])

    def step(self, action):
        if action == "look":
            seen = contrail.Observation("You see doors.", ["red", "grey"])
            return contrail.Step(seen)
        won = action == "grey"
        seen = contrail.Observation("Done.", ["wait"])
        return contrail.Step(seen, reward=float(won), terminated=True, success=won)

    def expert(self, task):
        if task.seed % 4 == 3:
            return None
        return ["look", "red" if task.seed % 4 == 2 else "grey"]

class Alone(Hall):
    def expert(self, task):
        return None

@contrail.hookimpl
def contrail_environments(register):
    register("hall", Hall)
    register("alone", Alone)
'''

STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "dtype": "float32",
    "evaluate": {"tasks": 3, "baselines": False},
    "grpo": {
        "num_generations": 4,
        "generation_batch_size": 8,
        "learning_rate": 5e-3,
        "temperature": 0.2,
    },
    "lora": {"r": 4},
}


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A stream whose environment has an expert for some tasks."""
    (tmp_path / "hall.py").write_text(PLUGIN)

    def made(environment: str = "hall", adapter: Any = "choose", **learn: Any) -> dict[str, Any]:
        one = {"environment": environment, "updates": 3, "learn": {"name": "self", **learn}}
        plugins = [str(tmp_path / "hall.py")]
        return {**STREAM, "plugins": plugins, "stream": [one], "adapter": adapter}

    return made


@pytest.mark.parametrize(
    "learn", [{}, {"ema": 0.5}, {"adapter": {"name": "react", "max_new_tokens": 16}}], ids=str
)
def test_self_killed_within_a_stage_ends_the_same(
    house: Callable[..., dict[str, Any]], tmp_path: Path, learn: dict[str, Any]
) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps(house(**learn)))
    check_killed(path, tmp_path)


def test_a_comparison_with_an_objective_that_plays_fewer_episodes(
    house: Callable[..., dict[str, Any]], tmp_path: Path, quick_comparisons: None
) -> None:
    stream = house()
    stream["stream"][0].pop("learn")
    entries = [
        {"name": "sequential", "label": "rewards"},
        {"name": "sequential", "label": "self", "set": {"stream.0.learn": "self"}},
    ]
    found = contrail.compare(
        stream, strategies=entries, seeds=[0], out=tmp_path / "out", quiet=True
    )
    budget = {row["strategy"]: row["budget"]["episodes"] for row in found.record["rows"]}
    assert budget["rewards"] == 24 > budget["self"] > 0


def test_the_average_follows_the_policy(
    house: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def learnt(name: str, **learn: Any) -> bytes:
        contrail.run(house(**learn), out=tmp_path / name, quiet=True)
        return (tmp_path / name / "checkpoints/001/adapter_model.safetensors").read_bytes()

    now = learnt("now")
    assert learnt("one", ema=1.0) == now
    assert learnt("half", ema=0.5) != now
    assert learnt("none", ema=0.0) not in (now, learnt("half", ema=0.5))


def test_tasks_without_a_demonstration_are_left_out_and_counted(
    house: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, list[contrail.Episode]]] = []
    original = contrail.Learner.update

    def update(self: contrail.Learner, groups: Any, rng: Any) -> Any:
        scalars = original(self, groups, rng)
        seen.append((scalars["without_demonstration"], [one for group in groups for one in group]))
        return scalars

    monkeypatch.setattr(contrail.Learner, "update", update)
    contrail.run(house(), out=tmp_path / "run", quiet=True)
    assert len(seen) == 3
    for share_left_out, episodes in seen:
        assert len(episodes) == round(8 * (1 - share_left_out))
        assert all(episode.task.seed % 4 < 2 and not episode.demonstrated for episode in episodes)
    with pytest.raises(ContrailError, match="The objective self needs an expert"):
        contrail.run(house("alone"), out=tmp_path / "alone", quiet=True)


def test_the_teacher_sees_the_demonstration_and_the_same_decisions(
    house: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = []
    original = SelfDistill.shown

    def shown(self: SelfDistill, learner: contrail.Learner, episode: contrail.Episode) -> Any:
        found = original(self, learner, episode)
        pairs.append((learner.policy.chat, episode, found))
        return found

    monkeypatch.setattr(SelfDistill, "shown", shown)
    contrail.run(
        house(prompt="Look: {demonstration}. {observation}"), out=tmp_path / "run", quiet=True
    )
    assert pairs
    for chat, episode, found in pairs:
        first = episode.turns[0]
        assert first.prompt == chat.start("You are in a house.", first.observation)
        where = first.observation
        text = f"Look: {where}\n\nlook\n\nYou see doors.\n\ngrey. {where}"
        assert found.turns[0].prompt == chat.start("You are in a house.", text)
        assert [turn.prompt for turn in found.turns[1:]] == [t.prompt for t in episode.turns[1:]]
        assert [turn.choices for turn in found.turns] == [turn.choices for turn in episode.turns]
        assert found.logprobs == episode.logprobs


def test_a_conversation_that_is_told_anew_has_the_demonstration(make_tiny: Any) -> None:
    policy = make_tiny()
    chat = policy.chat
    task = contrail.Task("hall", "0", 0, "train")

    def turn(prompt: list[int], observation: str, restart: bool = False) -> contrail.Turn:
        return contrail.Turn(
            prompt, [5], [0.0], [0.0], observation=observation, text="no", restart=restart
        )

    def system(text: str) -> list[int]:
        return list(chat.start("Be brief.", text))

    turns = [turn(system("One"), "One"), turn(system("Two"), "Two", restart=True)]
    episode = contrail.Episode("hall", task, 0, turns, system="Be brief.")
    objective = SelfDistill(SelfConfig(prompt="{demonstration}! {observation}"))
    shown = contrail.Episode("hall", task, 0, [turn([], "A")], success=True)
    objective._adapters = {"hall": Once()}
    objective._demonstrations = {("hall", "0"): shown}
    learner: Any = SimpleNamespace(policy=policy)
    found = [item.prompt for item in objective.shown(learner, episode).turns]
    assert found == [system("A\n\nno! One"), system("A\n\nno! Two")]


class Once(Choose):
    """Every turn is a conversation of its own."""

    single_turn = True


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("thought", ["hm", ""])
def test_the_teacher_sees_the_demonstration_though_thoughts_are_dropped(
    template: str, thought: str
) -> None:
    """A conversation that is told anew begins otherwise than its first turn did."""
    policy = thinking_policy(TEMPLATES[template])
    chat, task = policy.chat, contrail.Task("hall", "0", 0, "train")
    words = f"<think>\n{thought}\n</think>\n\ngo left" if thought else "go left"
    turns: list[contrail.Turn] = []
    context: list[int] = []
    prompt, restart = chat.start("Be brief.", "One"), False
    for seen in ("One", "Two", "Three"):
        written = chat.words(words)
        values = [0.0] * len(written)
        turns.append(
            contrail.Turn(prompt, written, values, values, observation=seen, restart=restart)
        )
        context = [*([] if restart else context), *prompt, *written]
        coming = {"One": "Two", "Two": "Three"}.get(seen, "")
        prompt, restart = next_prompt(chat, React(), "Be brief.", turns, context, coming)
    episode = contrail.Episode("hall", task, 0, turns, system="Be brief.")
    objective = SelfDistill(SelfConfig(prompt="{demonstration}! {observation}"))
    shown = contrail.Turn([], [], [], [], observation="Door", text="look")
    objective._adapters = {"hall": React()}
    objective._demonstrations = {("hall", "0"): contrail.Episode("hall", task, 0, [shown])}
    learner: Any = SimpleNamespace(policy=policy)
    found = objective.shown(learner, episode)
    decode = chat.tokenizer.decode
    for number, turn in enumerate(found.turns):
        text, own = decode(found.context(number)), decode(episode.context(number))
        assert text.replace("Door\n\nlook! ", "") == own
        assert text.count("look! ") == 1
        assert turn.written == turns[number].written


def test_an_episode_that_is_too_long_with_its_demonstration_teaches_nothing(
    house: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    long = {**house(prompt="{demonstration} {observation}" + " word" * 300), "max_context": 200}
    contrail.run(long, out=tmp_path / "run", quiet=True)
    names = [tmp_path / f"run/checkpoints/00{n}/adapter_model.safetensors" for n in (0, 1)]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_environments_count_by_the_episodes_that_are_not_too_long() -> None:
    """The shares of environments are those of the episodes that teach."""

    def episode(environment: str, turns: int, words: int) -> contrail.Episode:
        task = contrail.Task(environment, "0", 0, "train")
        one = contrail.Turn([1] * words, [5], [0.0], [0.0], observation="", text="")
        return contrail.Episode(environment, task, 0, [one] * turns)

    class Same(SelfDistill):
        def shown(self, learner: Any, episode: contrail.Episode) -> contrail.Episode:
            return episode

    learner: Any = SimpleNamespace(
        policy=SimpleNamespace(max_context=20),
        environment_weights=lambda found: torch.tensor(environment_weights(found)),
    )
    fit = [episode("hall", 3, 2), episode("den", 1, 2)]
    groups = [[one] for one in [fit[0], episode("den", 9, 9), fit[1]]]
    objective = Same(SelfConfig())
    weights, none = objective.weights(learner, groups, [[0, 1, 2], [1]])
    assert weights[[0, 2]].tolist() == pytest.approx(environment_weights(fit))
    assert weights[1] == none[0] == 0
    assert objective.take_logged()["too_long"] == pytest.approx(1 / 3)


def test_the_prompt_must_show_both() -> None:
    with pytest.raises(ConfigError, match=r"must contain {demonstration}"):
        SelfConfig(prompt="{observation}")
    with pytest.raises(ConfigError, match=r"must contain {observation}"):
        SelfConfig(prompt="{demonstration}")


@pytest.mark.parametrize("room", [True, False])
def test_turns_with_contexts_of_their_own_need_room_one_at_a_time(
    make_tiny: Any, room: bool
) -> None:
    """Contexts of restarts do not stand one after the other, so their lengths do not add up."""
    policy = make_tiny()
    start = policy.chat.start("Be brief.", "Where?")
    turns = [
        contrail.Turn(start, [5], [0.0], [0.0], observation="Where?", restart=number > 0)
        for number in range(6)
    ]
    task = contrail.Task("hall", "0", 0, "train")
    episode = contrail.Episode("hall", task, 0, turns, system="Be brief.")
    objective = SelfDistill(SelfConfig(prompt="{demonstration}{observation}"))
    objective._adapters = {"hall": Once()}
    objective._demonstrations = {("hall", "0"): contrail.Episode("hall", task, 0)}
    needed = len(start) + 1
    learner: Any = SimpleNamespace(
        policy=SimpleNamespace(max_context=needed if room else needed - 1, chat=policy.chat),
        environment_weights=lambda episodes: torch.ones(len(episodes)),
    )
    [weights] = objective.weights(learner, [[episode]], [[0]])
    assert weights.tolist() == [float(room)]
