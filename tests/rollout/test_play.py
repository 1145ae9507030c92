"""Play: what an episode records is what a plain model says of the same tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from playing import EXACT, Make, Words, assert_freed, jobs, largest, plain, pool
from rooms import Rooms, train

import contrail
from contrail import Observation
from contrail.cache import cache
from contrail.errors import ContrailError
from contrail.model.policy import Policy, linear_modules, load_base, with_lora
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.plugins.models.smollm2 import smollm2_135m
from contrail.seeding import generator

import torch  # isort: skip
from peft import LoraConfig  # isort: skip
from contrail.model.chat import Chat  # isort: skip
from contrail.engine import engine as engine_module  # isort: skip
from contrail.engine.decide import Drawn  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.rollout.play import Job, play  # isort: skip


class Scripted:
    """Stands in for a generator: the model writes these tokens, whatever it thinks of them."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)

    def random(self) -> Forced:
        return Forced(self.tokens.pop(0))


@dataclass
class Forced:
    """Stands in for a draw."""

    token: int


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `Scripted` stand in for a job's generator."""
    drawn = engine_module.sample

    def follow(logits: torch.Tensor, temperature: float, draws: Sequence[Any]) -> list[Drawn]:
        made = drawn(
            logits, temperature, [draw if isinstance(draw, float) else 0 for draw in draws]
        )
        for decision, draw in zip(made, draws, strict=True):
            if isinstance(draw, Forced):
                decision.choice = draw.token
        return made

    monkeypatch.setattr(engine_module, "sample", follow)


# choose


@pytest.mark.parametrize(("trained", "temperature"), [(False, 1.0), (True, 1.0), (True, 0.3)])
def test_choices_are_scored_as_by_brute_force(
    make_tiny: Make, engines: list[Engine], trained: bool, temperature: float
) -> None:
    policy = make_tiny(trained)
    before = {name: item.detach().clone() for name, item in policy.model.named_parameters()}
    episodes = play(policy, pool(), jobs(Choose()), temperature=temperature)
    for name, item in policy.model.named_parameters():
        assert torch.equal(item, before[name]), name
    assert largest(policy, episodes, temperature) < EXACT
    assert_freed(engines)

    end = policy.chat.end
    room_of = {f"You are in room {room}.": room for room in range(7)}
    lengths = set()
    for job, episode in zip(jobs(Choose()), episodes, strict=True):
        assert (episode.task, episode.sample) == (job.task, job.sample)
        assert episode.ended == ("terminated" if episode.success else "max_turns")
        lengths.add(len(episode.turns))
        for turn in episode.turns:
            actions = Rooms.ACTIONS[room_of[turn.observation]]
            assert turn.choices == [[*policy.chat._encode(text), end] for text in actions]
            assert turn.written == turn.choices[turn.choice]
            assert turn.action == turn.text == actions[turn.choice]
            assert turn.valid
            assert -1e-6 <= turn.entropies[0] <= numpy.log(len(actions)) + 1e-6
    assert len(lengths) > 2
    assert len({episode.turns[0].choice for episode in episodes[::4]}) > 1


def test_the_adapter_changes_what_is_chosen(make_tiny: Make) -> None:
    """The tests above would not see an adapter that has no effect."""
    before, after = (play(make_tiny(trained), pool(), jobs(Choose())) for trained in (False, True))
    first = [
        abs(a.logprobs[0] - b.logprobs[0])
        for a, b in zip(before, after, strict=True)
        if a.turns[0].choice == b.turns[0].choice
    ]
    assert max(first) > 0.1


def test_entropies_and_sampling_follow_the_distribution(make_tiny: Make) -> None:
    policy = make_tiny()
    (task,) = Rooms().tasks("train")[:1]
    many = [Job("rooms", task, Choose(), generator(1, sample)) for sample in range(600)]
    episodes = play(policy, pool(), many, concurrency=600)
    turns = [episode.turns[0] for episode in episodes]
    probability = {turn.choice: float(numpy.exp(turn.logprobs[0])) for turn in turns}
    assert sum(probability.values()) == pytest.approx(1)
    for choice, expected in probability.items():
        share = numpy.mean([turn.choice == choice for turn in turns])
        assert abs(share - expected) < 4 * (expected * (1 - expected) / len(turns)) ** 0.5
    entropy = -sum(value * numpy.log(value) for value in probability.values())
    assert turns[0].entropies[0] == pytest.approx(entropy, abs=1e-6)


def test_greedy_takes_the_likeliest(make_tiny: Make) -> None:
    policy = make_tiny()
    for adapter in (Choose(), Words(ReactConfig(max_new_tokens=3))):
        for episode in play(policy, pool(), jobs(adapter, 2, 1), greedy=True):
            history: list[int] = []
            for turn in episode.turns:
                history += turn.prompt
                if turn.choices is None:
                    logits = plain(policy, history + turn.written)[len(history) - 1 : -1]
                    assert logits.argmax(-1).tolist() == turn.written
                else:
                    scores = []
                    for branch in turn.choices:
                        logprobs = plain(policy, history + branch)[len(history) - 1 : -1]
                        chosen = logprobs.log_softmax(-1)[torch.arange(len(branch)), branch]
                        scores.append(float(chosen.mean()))
                    assert turn.choice == int(numpy.argmax(scores))
                history += turn.written


def test_merging_leaves_nothing_behind(make_tiny: Make) -> None:
    policy = make_tiny()
    tokens = list(range(100, 140))
    before = {name: item.detach().clone() for name, item in policy.model.state_dict().items()}
    unmerged = plain(policy, tokens)
    with torch.no_grad(), policy.acting() as model:
        merged = model(input_ids=torch.tensor([tokens])).logits[0]
    assert float((merged - unmerged).abs().max()) < EXACT
    with pytest.raises(KeyError), policy.acting():
        raise KeyError
    after = policy.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(plain(policy, tokens), unmerged)
    with torch.no_grad(), policy.reference() as model:
        reference = model(input_ids=torch.tensor([tokens])).logits[0]
    assert torch.equal(reference, plain(make_tiny(trained=False), tokens))
    assert float((reference - unmerged).abs().max()) > 0.1


# react


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_free_text_is_scored_as_by_brute_force(
    make_tiny: Make, engines: list[Engine], temperature: float
) -> None:
    policy = make_tiny()
    adapter = Words(ReactConfig(max_new_tokens=9))
    episodes = play(policy, pool(), jobs(adapter), temperature=temperature)
    assert largest(policy, episodes, temperature) < EXACT
    assert_freed(engines)
    turns = [turn for episode in episodes for turn in episode.turns]
    assert {turn.valid for turn in turns} == {True, False}
    assert max(len(turn.written) for turn in turns) == 9
    assert max(len(episode.turns) for episode in episodes) == Rooms.max_turns
    for episode in episodes:
        assert len(episode.mask) == len(episode.token_ids)
        assert sum(episode.mask) == episode.generated_tokens == len(episode.logprobs)
        assert len(episode.entropies) == len(episode.logprobs)
        written = [token for token, bit in zip(episode.token_ids, episode.mask, strict=True) if bit]
        assert written == [token for turn in episode.turns for token in turn.written]


def test_stop_texts_end_a_turn(make_tiny: Make, scripted: None) -> None:
    policy = make_tiny()
    answer = policy.chat._encode("go@")
    tokens = [*answer, *policy.chat._encode("look a@ b")]
    job = Job("rooms", Rooms().tasks("train")[0], Words(), Scripted(tokens))
    environment = Rooms()
    environment.max_turns = 2
    (episode,) = play(policy, pool(lambda: environment), [job])
    assert episode.turns[0].written == answer
    assert episode.turns[0].text == "go@"
    assert episode.turns[1].text.endswith("@")
    assert episode.turns[1].prompt[0] == policy.chat.end  # closed for the model, not by it


def chat(policy: Policy, messages: list[tuple[str, str]]) -> str:
    made: str = policy.chat.tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages], tokenize=False
    )
    return made


def test_an_episode_is_the_chat_transcript(make_tiny: Make, scripted: None) -> None:
    """Turns that the model ends itself, one that is cut off, and one without an action."""
    policy = make_tiny()
    texts = ["Action:\ngo left", "I do not know.", "Thought: this is cut off at", "Action: look"]
    limit = len(policy.chat._encode(texts[2]))
    script = []
    for text in texts:
        script += policy.chat.answer(text)[:limit]
        assert text == texts[2] or script[-1] == policy.chat.end
    adapter = React(ReactConfig(max_new_tokens=limit))
    environment = Rooms()
    job = Job("rooms", environment.tasks("train")[0], adapter, Scripted(script))
    (episode,) = play(policy, pool(lambda: environment), [job])
    nothing = "No action found. Write one line after 'Action:'."
    shown = [turn.observation for turn in episode.turns]
    assert shown == [
        adapter.render(Observation("You are in room 0.", Rooms.ACTIONS[0])),
        shown[1],
        nothing,
        nothing,
    ]
    assert "Available actions: " in shown[1]
    messages = [("system", adapter.system(environment))]
    for message, text in zip(shown, texts, strict=True):
        messages += [("user", message), ("assistant", text)]
    assert policy.chat.tokenizer.decode(episode.token_ids) == chat(policy, messages).rstrip("\n")
    # The chat template's own encoding is the same, so nothing was glued together differently.
    whole = policy.chat.tokenizer(chat(policy, messages), add_special_tokens=False)["input_ids"]
    assert whole[: len(episode.token_ids)] == episode.token_ids

    assert [turn.text for turn in episode.turns] == texts
    assert [turn.valid for turn in episode.turns] == [True, False, False, True]
    assert [turn.action for turn in episode.turns] == ["go left", None, None, "look"]
    assert environment.played == ["go left", "look"]
    assert episode.ended == "max_turns"
    # The end that closes the cut-off turn is not the model's.
    assert episode.turns[2].written[-1] != policy.chat.end
    assert episode.turns[3].prompt[0] == policy.chat.end
    assert len(episode.logprobs) == sum(episode.mask) == sum(len(t.written) for t in episode.turns)


def test_react_reads_one_action() -> None:
    adapter = React()
    seen = Observation("x", ("a",))
    assert adapter.parse("Thought:\nhm\n\nAction:\n go left \nmore", seen) == "go left"
    for text in ("go left", "Action:\n\n", "Action: a\nAction: b"):
        with pytest.raises(contrail.InvalidAction):
            adapter.parse(text, seen)


# a real model


@pytest.fixture(scope="module")
def smollm2() -> Policy:
    if not (cache() / "models" / "smollm2-135m" / "config.json").is_file():
        pytest.skip("smollm2-135m is not in the cache; `make demo` puts it there")
    torch.set_num_threads(1)
    base, tokenizer = load_base(str(smollm2_135m()), dtype="float32", device="cpu")
    modules = sorted(linear_modules(base))
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM")
    policy = with_lora(base, tokenizer, lora, seed=0)
    train(policy, 0.01)
    return policy


def test_a_real_model_chooses(smollm2: Policy) -> None:
    environment = Rooms()
    environment.max_turns = 2
    episodes = play(smollm2, pool(lambda: environment), jobs(Choose(), 1, 1))
    assert largest(smollm2, episodes, 1.0) < EXACT


def test_a_real_model_writes(smollm2: Policy) -> None:
    class Two(Rooms):
        max_turns = 2

    adapter = Words(ReactConfig(max_new_tokens=12))
    episodes = play(smollm2, pool(Two), jobs(adapter, 2, 1), temperature=0.5)
    assert largest(smollm2, episodes, 0.5) < EXACT
    for episode in episodes:
        messages = [("system", adapter.system(Rooms()))]
        for turn in episode.turns:
            messages += [("user", turn.observation), ("assistant", turn.text)]
        text = smollm2.chat.tokenizer.decode(episode.token_ids).removesuffix("<|im_end|>")
        assert text == chat(smollm2, messages).rstrip("\n").removesuffix("<|im_end|>")


def test_half_a_surrogate_pair_is_replaced(make_tiny: Make) -> None:
    chat = make_tiny().chat
    assert chat.text(chat.follow("a \ud800 b")).count("a ? b") == 1


def test_a_chat_template_that_is_broken_is_refused(make_tiny: Make) -> None:
    tokenizer = copy.deepcopy(make_tiny().chat.tokenizer)
    tokenizer.chat_template = "{% if %}"
    with pytest.raises(ContrailError, match="chat template cannot be used"):
        Chat(tokenizer)
