"""The rule for malformed answers: in episodes, in records, and in what training follows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from learning import VARIED, config, flat, parameters, rewarded, taken
from playing import Make, Words, jobs, pool
from rooms import Rooms

import contrail
from contrail.baselines.play import Game, play_games
from contrail.baselines.players import Random
from contrail.config import AnswersConfig, load
from contrail.errors import ConfigError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import ReactConfig
from contrail.plugins.metrics.episode import METRICS
from contrail.progress.reporter import line
from contrail.rollout.answers import mark
from contrail.seeding import generator

import torch  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import play  # isort: skip
from contrail.training.advantages import environment_weights, group_advantages, group_scalars  # isort: skip
from contrail.training.decisions import Decisions  # isort: skip
from contrail.training.learner import Learner  # isort: skip
from contrail.training.objective import Batch  # isort: skip

CUT = {metric.name: metric for metric in METRICS}["cut_off_rate"]
LIMIT = 6


@pytest.fixture
def episodes(make_tiny: Make) -> list[Episode]:
    """In free text, of which some is invalid and some is cut off."""
    words = Words(ReactConfig(max_new_tokens=LIMIT))
    played = play(make_tiny(), pool(), jobs(words, 4, 4))
    turns = [turn for episode in played for turn in episode.turns]
    assert {turn.valid for turn in turns} == {turn.cut_off for turn in turns} == {True, False}
    return played


# Episodes.


def test_cut_off_is_what_has_no_end(make_tiny: Make, episodes: list[Episode]) -> None:
    chat = make_tiny().chat
    for episode in episodes:
        for turn in episode.turns:
            ended = turn.written[-1] in chat.ends or "@" in chat.text(turn.written)
            assert turn.cut_off == (not ended)
            assert not turn.cut_off or len(turn.written) == LIMIT
            assert (turn.penalty, turn.left_out) == (0.0, False)
    share = numpy.mean([turn.cut_off for episode in episodes for turn in episode.turns])
    assert CUT.average(episodes) == pytest.approx(share)


def test_a_choice_has_no_rate_of_cut_off_answers(make_tiny: Make) -> None:
    chosen = play(make_tiny(), pool(), jobs(Choose(), 2, 1))
    assert not any(turn.cut_off for episode in chosen for turn in episode.turns)
    assert CUT.average(chosen) is None


@pytest.mark.parametrize("most", [1, 2, 3])
def test_an_episode_ends_after_invalid_turns_in_a_row(
    make_tiny: Make, episodes: list[Episode], most: int
) -> None:
    words = Words(ReactConfig(max_new_tokens=LIMIT))
    ended = play(make_tiny(), pool(), jobs(words, 4, 4), end_after_invalid=most)
    cases = set()
    for short, long in zip(ended, episodes, strict=True):
        row, end = 0, None
        for number, turn in enumerate(long.turns, start=1):
            row = 0 if turn.valid else row + 1
            if row == most:
                end = number
                break
        cases.add(end is None)
        assert [turn.written for turn in short.turns] == [turn.written for turn in long.turns[:end]]
        assert short.ended == (long.ended if end is None else "invalid")
    assert False in cases


def test_players_without_a_model_end_alike() -> None:
    class Deaf(Rooms):
        def step(self, action: str) -> contrail.Step:
            return contrail.Step(self._seen(), valid=False)

    class Never(Choose):
        def parse(self, text: str, observation: contrail.Observation) -> str:
            raise contrail.InvalidAction("No.")

    for adapter, environment in ((Never(), Rooms), (Choose(), Deaf)):
        for most, turns in ((None, 4), (1, 1), (3, 3), (9, 4)):
            game = Game("rooms", Rooms().tasks("train")[0], adapter, Random(), generator(0), most)
            (outcome,) = play_games(pool(environment), [game])
            assert (outcome.turns, outcome.invalid) == (turns, turns)


# Records.


def test_records_have_the_fields_only_where_they_say_something(episodes: list[Episode]) -> None:
    new = {"cut_off", "penalty", "left_out"}
    for episode in episodes:
        record = episode.record()
        assert "training_reward" not in record
        for turn, logged in zip(episode.turns, record["turns"], strict=True):
            assert new & set(logged) == ({"cut_off"} if turn.cut_off else set())
    mark(episodes, AnswersConfig(invalid_penalty=0.5, cut_off="leave_out"))
    for episode in episodes:
        record = json.loads(json.dumps(episode.record()))
        invalid = sum(not turn.valid for turn in episode.turns)
        assert record.get("training_reward", record["reward"]) == pytest.approx(
            record["reward"] - invalid / 2
        )
        for turn, logged in zip(episode.turns, record["turns"], strict=True):
            assert logged.get("left_out", False) == turn.cut_off == logged.get("cut_off", False)
            assert logged.get("penalty", 0.0) == (0.0 if turn.valid else 0.5)
        assert Episode.from_dict(dataclasses.asdict(episode)) == episode


# Training.


def test_penalties_by_hand(episodes: list[Episode]) -> None:
    rules = AnswersConfig(invalid_penalty=0.25, cut_off="penalise", cut_off_penalty=1.0)
    before = [episode.reward for episode in episodes]
    mark(episodes, rules)
    assert [episode.reward for episode in episodes] == before
    for episode in episodes:
        invalid = sum(not turn.valid for turn in episode.turns)
        cut = sum(turn.cut_off for turn in episode.turns)
        assert episode.training_reward == pytest.approx(episode.reward - invalid / 4 - cut)
    mark(episodes, AnswersConfig())
    assert [episode.training_reward for episode in episodes] == before


def test_advantages_and_variance_follow_the_training_reward(episodes: list[Episode]) -> None:
    groups = [episodes[:4], episodes[4:8]]
    rewarded(groups, [[1.0] * 4, [1.0] * 4])
    scalars = group_scalars(groups)
    assert scalars["zero_variance_groups"] == 1
    assert "penalty_only_groups" not in scalars  # nothing was penalised
    assert group_advantages(groups, "none") == [0.0] * 8
    groups[0][1].turns[0].penalty = 0.4
    scalars = group_scalars(groups)
    assert (scalars["zero_variance_groups"], scalars["penalty_only_groups"]) == (0.5, 0.5)
    expected = [0.1, -0.3, 0.1, 0.1, *[0.0] * 4]
    assert group_advantages(groups, "none") == pytest.approx(expected)


def test_a_group_with_unequal_rewards_is_not_told_apart_by_penalties_alone(
    episodes: list[Episode],
) -> None:
    groups = [episodes[:4], episodes[4:8]]
    rewarded(groups, [[1.0, 0.0, 1.0, 1.0], [1.0] * 4])
    for group in groups:
        for episode in group:
            episode.turns[0].penalty = 0.4
    scalars = group_scalars(groups)
    assert (scalars["zero_variance_groups"], scalars["penalty_only_groups"]) == (0.5, 0.0)
    assert "penalty-only groups 0%" in line(scalars)


def test_what_is_left_out_has_no_gradient(make_tiny: Make, tmp_path: Path) -> None:
    """TRL's loss is beside the likelihood of the decisions that are left, by hand."""
    policy = make_tiny()
    words = Words(ReactConfig(max_new_tokens=LIMIT))
    episodes = play(policy, pool(), jobs(words, 4, 2))
    mark(episodes, AnswersConfig(cut_off="leave_out"))
    weights = torch.tensor([1.0, -1.0, 0.5, -0.5, 2.0, 0.3, -0.7, 1.1])
    kept = [episode.learnt for episode in episodes]
    assert sum(map(sum, kept)) < sum(map(len, kept))
    learner = Learner(policy, config(tmp_path))
    batch = Batch.of(episodes, weights)
    assert batch.decisions == sum(map(sum, kept))
    assert Decisions.of(episodes, policy.model.device).mask.sum() == batch.decisions
    learner.gradients(batch)
    found = taken(policy)

    scores: list[list[torch.Tensor]] = [[] for _ in episodes]
    for number, episode in enumerate(episodes):
        for part in learner.score([episode]):
            scores[number] += [one.logprobs for one in part]
            mask = torch.tensor(episode.learnt, dtype=torch.float32)
            loss = -(weights[number] * torch.cat(scores[number]) * mask).sum() / batch.decisions
            loss.backward()
    expected = taken(policy)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, expected[name], rtol=1e-3, atol=1e-5), name


def test_nothing_is_learnt_where_all_is_left_out(make_tiny: Make, tmp_path: Path) -> None:
    policy = make_tiny()
    words = Words(ReactConfig(max_new_tokens=LIMIT))
    groups = [play(policy, pool(), jobs(words, 1, 4)), play(policy, pool(), jobs(words, 2, 4))[4:]]
    rewarded(groups, VARIED)
    for episode in flat(groups):
        for turn in episode.turns:
            turn.left_out = True
    before = parameters(policy)
    learner = Learner(policy, config(tmp_path))
    learner.by_environment = True
    scalars = learner.update(groups, generator(0))
    assert scalars["skipped_steps"] == 1
    assert all(numpy.isfinite(value) for value in scalars.values())
    assert all(torch.equal(value, before[name]) for name, value in parameters(policy).items())
    assert environment_weights(flat(groups)) == [1.0] * 8
    for turn in groups[0][0].turns:
        turn.left_out = False
    groups[0][0].environment = "another"
    assert learner.update(groups, generator(0))["skipped_steps"] == 0
    assert not all(torch.equal(value, before[name]) for name, value in parameters(policy).items())


# Keys.


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"cut_off": "penalise"},
            "answers: cut_off is penalise and cut_off_penalty is 0.",
        ),
        (
            {"cut_off_penalty": 0.1},
            "answers: cut_off is learn and cut_off_penalty is 0.1.",
        ),
        ({"invalid_penalty": -1}, "answers.invalid_penalty: -1.0 is too small. The least is 0."),
        ({"end_after_invalid": 0}, "answers.end_after_invalid: 0 is too small. The least is 1."),
        ({"cut_off": "drop"}, "answers.cut_off: 'drop' is not allowed."),
        ({"penalty": 1}, "answers.penalty: unknown key. Did you mean"),
    ],
)
def test_impossible_rules_are_refused(answers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"stream": ["textcraft"], "answers": answers})
    assert str(caught.value).startswith(message)


# A whole run.

STREAM: dict[str, Any] = {
    "model": "tiny-random",
    "adapter": {"name": "act", "max_new_tokens": 4},
    "stream": [{"environment": {"name": "textcraft", "depths": [1], "max_turns": 4}, "updates": 2}],
    "evaluate": {"tasks": 4, "baselines": False},
    "grpo": {"num_generations": 2, "generation_batch_size": 4, "learning_rate": 0.0},
}


def test_penalties_are_in_training_alone(tmp_path: Path) -> None:
    """With a learning rate of 0 a penalty changes nothing that is measured."""
    rules = {"invalid_penalty": 0.1, "cut_off": "penalise", "cut_off_penalty": 0.2}
    plain, punished, short = (
        contrail.run({**STREAM, "answers": answers}, out=tmp_path / name, quiet=True)
        for name, answers in (
            ("plain", {}),
            ("punished", rules),
            ("short", {"end_after_invalid": 2}),
        )
    )
    assert plain.record["evaluations"] == punished.record["evaluations"]
    first, second = (list(run.episodes(kind="train")) for run in (plain, punished))
    for one, other in zip(first, second, strict=True):
        assert one["token_ids"] == other["token_ids"]
        assert one["reward"] == other["reward"]
        penalties = sum(turn.get("penalty", 0.0) for turn in other["turns"])
        expected = sum(
            0.1 * (not turn["valid"]) + 0.2 * turn.get("cut_off", False) for turn in one["turns"]
        )
        assert penalties == pytest.approx(expected)
        assert penalties > 0
        assert other["training_reward"] == pytest.approx(other["reward"] - penalties)
    for episode in punished.episodes(kind="evaluate"):
        assert "training_reward" not in episode
        assert not any("penalty" in turn for turn in episode["turns"])
    for episode in short.episodes():  # in training and in evaluations
        assert (len(episode["turns"]), episode["ended"]) == (2, "invalid")
    (row, *_) = plain.record["evaluations"]
    assert row["textcraft"]["cut_off_rate"] > 0
