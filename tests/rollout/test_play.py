"""Play: what an episode records is what a plain model says of the same tokens."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from faults import ANYTHING, INTERRUPTS, raises
from rooms import Rooms, train

import contrail
from contrail import Observation, Step, Task
from contrail.cache import cache
from contrail.errors import ConfigError, ContrailError, PluginError
from contrail.model.policy import Policy, linear_modules, load_base, with_adapter
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React, ReactConfig
from contrail.plugins.models.smollm2 import smollm2_135m
from contrail.seeding import generator

import torch  # isort: skip
from peft import LoraConfig  # isort: skip
from contrail.engine import sampler as sampler_module  # isort: skip
from contrail.model.chat import Chat  # isort: skip
from contrail.engine import engine as engine_module  # isort: skip
from contrail.engine.decide import Drawn  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job, play  # isort: skip

EXACT = 1e-4
Make = Callable[..., Policy]


class Words(React):
    """Free text; whatever the model writes is an action, unless it is of an odd length."""

    stop = ("@",)

    def parse(self, text: str, observation: Observation) -> str:
        if len(text) % 2:
            raise contrail.InvalidAction(f"{len(text)} letters are odd.")
        return text


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
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """All engines made by `play`."""
    made: list[Engine] = []

    def make(*args: Any, **settings: Any) -> Engine:
        made.append(Engine(*args, **settings))
        return made[-1]

    monkeypatch.setattr(sampler_module, "Engine", make)
    return made


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


def jobs(adapter: contrail.Adapter, count: int = 7, each: int = 2) -> list[Job]:
    return [
        Job("rooms", task, adapter, generator(0, "rollout", task.id, sample), sample)
        for task in Rooms().tasks("train")[:count]
        for sample in range(each)
    ]


def pool(made: Callable[[], contrail.Environment] = Rooms) -> EnvironmentPool:
    return EnvironmentPool({"rooms": made})


def assert_freed(engines: Sequence[Engine]) -> None:
    assert engines
    for engine in engines:
        assert not engine._live
        assert sorted(engine._cache._free) == list(range(len(engine._cache._ends)))


def plain(policy: Policy, tokens: Sequence[int]) -> torch.Tensor:
    """(tokens, vocabulary): logits of the unmerged PEFT model, with nothing of contrail's in it."""
    with torch.no_grad():
        assert policy.model.config._attn_implementation == "sdpa"
        return policy.model.eval()(input_ids=torch.tensor([tokens])).logits[0]


def brute_force(policy: Policy, episode: Episode, temperature: float) -> list[float]:
    """The log-probability of each decision: a full forward for every turn and candidate."""
    found = []
    history: list[int] = []
    for turn in episode.turns:
        history += turn.prompt
        scores = []
        for branch in turn.choices or [turn.written]:
            logits = plain(policy, history + branch)[len(history) - 1 : -1]
            if turn.choices is None:
                logprobs = (logits / temperature).log_softmax(-1)
                found += logprobs[torch.arange(len(branch)), branch].tolist()
            else:
                logprobs = logits.log_softmax(-1)
                scores.append(logprobs[torch.arange(len(branch)), branch].mean())
        if turn.choices is not None:
            found.append(float((torch.stack(scores) / temperature).log_softmax(-1)[turn.choice]))
        history += turn.written
    assert history == episode.token_ids
    return found


def largest(policy: Policy, episodes: Sequence[Episode], temperature: float) -> float:
    """The largest difference of recorded log-probabilities from brute force."""
    return max(
        abs(found - expected)
        for episode in episodes
        for found, expected in zip(
            episode.logprobs, brute_force(policy, episode, temperature), strict=True
        )
    )


def same(first: Sequence[Episode], second: Sequence[Episode]) -> float:
    """Check that the episodes are equal; the largest difference of log-probabilities."""
    assert [item.token_ids for item in first] == [item.token_ids for item in second]
    for one, other in zip(first, second, strict=True):
        assert (one.ended, one.reward, one.task) == (other.ended, other.reward, other.task)
        assert [turn.action for turn in one.turns] == [turn.action for turn in other.turns]
    return max(
        abs(one - other)
        for a, b in zip(first, second, strict=True)
        for one, other in zip(a.logprobs + a.entropies, b.logprobs + b.entropies, strict=True)
    )


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


# many at a time


@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=5))])
def test_concurrency_changes_nothing(
    make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter
) -> None:
    policy = make_tiny()
    finished: list[int] = []
    runs = [
        play(
            policy,
            pool(),
            jobs(adapter, 5),
            concurrency=concurrency,
            progress=lambda episode: finished.append(len(episode.turns)),
        )
        for concurrency in (1, 3, 64)
    ]
    assert len(finished) == 30
    assert same(runs[0], runs[1]) < EXACT
    assert same(runs[0], runs[2]) < EXACT
    assert_freed(engines)
    one, three, all_at_once = (engine.computed_tokens for engine in engines)
    assert one > three > all_at_once


def test_environments_and_adapters_side_by_side(make_tiny: Make, engines: list[Engine]) -> None:
    policy = make_tiny()
    mixed = [
        job
        for pair in zip(
            jobs(Choose(), 4), jobs(Words(ReactConfig(max_new_tokens=5)), 4), strict=True
        )
        for job in pair
    ]
    episodes = play(policy, pool(), mixed, concurrency=6)
    assert largest(policy, episodes, 1.0) < EXACT
    alone = [play(policy, pool(), jobs(Choose(), 4)), episodes[::2]]
    assert same(*alone) < EXACT
    assert_freed(engines)


class Faulty(Rooms):
    """Cannot begin task 1, and breaks at the second action of task 2."""

    def reset(self, task: Task) -> Observation:
        if task.seed == 1:
            raise OSError("no such room")
        self.left = 1 if task.seed == 2 else 99
        return super().reset(task)

    def step(self, action: str) -> Step:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it broke")
        return super().step(action)


@pytest.mark.parametrize("name", ANYTHING)
def test_whatever_an_environment_raises_is_a_fault(make_tiny: Make, name: str) -> None:
    class Broken(Rooms):
        step = raises(ANYTHING[name])

    episodes = play(make_tiny(), pool(Broken), jobs(Choose(), 2, 1))
    assert [item.ended for item in episodes] == ["fault", "fault"]
    assert type(ANYTHING[name]).__name__ in (episodes[0].fault or "")


@pytest.mark.parametrize("name", INTERRUPTS)
def test_an_interrupt_within_an_environment_ends_play(make_tiny: Make, name: str) -> None:
    class Interrupted(Rooms):
        step = raises(INTERRUPTS[name])

    with pytest.raises(BaseException) as raised:  # noqa: PT011
        play(make_tiny(), pool(Interrupted), jobs(Choose(), 2, 1))
    assert raised.value is INTERRUPTS[name]


@pytest.mark.parametrize("method", ["system", "render", "candidates", "parse"])
@pytest.mark.parametrize("wrong", [raises(ANYTHING["cancelled"]), lambda *_: 3])
def test_a_fault_of_an_adapter_is_blamed_on_it(
    make_tiny: Make, method: str, wrong: Callable[..., Any]
) -> None:
    wrong_adapter = type("Wrong", (Choose,), {method: wrong})()
    with pytest.raises(PluginError, match=r"adapter Wrong: .*(CancelledError|TypeError)"):
        play(make_tiny(), pool(), jobs(wrong_adapter, 1, 1))


@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_faults_leave_the_others_alone(
    make_tiny: Make, engines: list[Engine], concurrency: int
) -> None:
    policy = make_tiny()
    sound = play(policy, pool(), jobs(Choose(), 5, 3))
    episodes = play(policy, pool(Faulty), jobs(Choose(), 5, 3), concurrency=concurrency)
    assert all(item.ended == "fault" for item in episodes[3:9])
    assert re.fullmatch(r"reset: OSError: no such room; .*\.py line \d+", episodes[3].fault or "")
    assert not episodes[3].turns
    for item in episodes[6:9]:
        assert item.fault is not None
        assert item.fault.startswith(f"step({item.turns[1].action!r}): ValueError: it broke; ")
        assert len(item.turns) == 2
        assert not item.success
    others = [0, 1, 2, *range(9, 15)]
    assert same([sound[i] for i in others], [episodes[i] for i in others]) < EXACT
    assert all(episodes[i].fault is None for i in others)
    assert_freed(engines)


@pytest.mark.parametrize("adapter", [Choose(), Words(ReactConfig(max_new_tokens=6))])
def test_max_context(make_tiny: Make, engines: list[Engine], adapter: contrail.Adapter) -> None:
    free = play(make_tiny(), pool(), jobs(adapter, 3))
    longest = max(len(episode.token_ids) for episode in free)
    policy = make_tiny(max_context=longest - 20)
    episodes = play(policy, pool(), jobs(adapter, 3))
    assert {item.ended for item in episodes} >= {"max_context"}
    for item in episodes:
        assert item.turns
        assert len(item.token_ids) <= policy.max_context
    none = play(make_tiny(max_context=10), pool(), jobs(adapter, 3))
    assert all(item.ended == "max_context" and not item.turns for item in none)
    assert_freed(engines)


def test_max_turns_and_truncation(make_tiny: Make, engines: list[Engine]) -> None:
    class Short(Rooms):
        max_turns = 2

        def step(self, action: str) -> Step:
            step = super().step(action)
            return Step(step.observation, truncated=action.startswith("go"), valid=False)

    episodes = play(make_tiny(), pool(Short), jobs(Choose(), 12))
    assert {item.ended for item in episodes} == {"max_turns", "truncated"}
    for item in episodes:
        assert len(item.turns) == 2 or item.ended == "truncated"
        assert not any(turn.valid for turn in item.turns)
    assert_freed(engines)


def test_invalid_actions_count_as_turns(make_tiny: Make) -> None:
    environment = Rooms()
    adapter = React(ReactConfig(max_new_tokens=4))
    (episode,) = play(make_tiny(), pool(lambda: environment), jobs(adapter, 1, 1))
    assert episode.ended == "max_turns"
    assert len(episode.turns) == Rooms.max_turns
    assert environment.played == []
    for turn in episode.turns:
        assert not turn.valid
        assert turn.action is None
    for turn in episode.turns[1:]:
        assert turn.observation == "No action found. Write one line after 'Action:'."
        assert "No action found." in make_tiny().chat.text(turn.prompt)


def test_nothing_to_choose_from(make_tiny: Make, engines: list[Engine]) -> None:
    class Dead(Rooms):
        ACTIONS = (*Rooms.ACTIONS[:3], (), (), (), ())

    class Silent(Rooms):
        ACTIONS = (None,) * 7

    episodes = play(make_tiny(), pool(Dead), jobs(Choose(), 5))
    assert {item.ended for item in episodes} >= {"fault"}
    for item in episodes:
        if item.ended == "fault":
            assert "the list of admissible actions is empty" in item.fault
    assert_freed(engines)
    with pytest.raises(ConfigError, match="does not list"):
        play(make_tiny(), pool(Silent), jobs(Choose(), 1))


def test_environments_are_made_as_needed_and_used_again(make_tiny: Make) -> None:
    made: list[Rooms] = []

    def make() -> Rooms:
        made.append(Rooms())
        return made[-1]

    used = pool(make)
    play(make_tiny(), used, jobs(Choose()), concurrency=3)
    assert len(made) == 3
    play(make_tiny(), used, jobs(Choose()), concurrency=2)
    assert len(made) == 3
    assert sum(item.resets for item in made) == 28


def test_global_random_state_is_not_touched(make_tiny: Make) -> None:
    policy = make_tiny()
    every = jobs(Choose(), 4) + jobs(Words(ReactConfig(max_new_tokens=4)), 2)

    def state() -> tuple[object, ...]:
        numpy_state = numpy.random.get_state()[1].tolist()  # noqa: NPY002
        return random.getstate(), numpy_state, torch.get_rng_state().tolist()

    before = state()
    episodes = play(policy, pool(), every)
    assert state() == before
    random.seed(3)
    torch.manual_seed(3)
    every = jobs(Choose(), 4) + jobs(Words(ReactConfig(max_new_tokens=4)), 2)
    assert same(episodes, play(policy, pool(), every)) == 0


# a real model


@pytest.fixture(scope="module")
def smollm2() -> Policy:
    if not (cache() / "models" / "smollm2-135m" / "config.json").is_file():
        pytest.skip("smollm2-135m is not in the cache; `make demo` puts it there")
    torch.set_num_threads(1)
    base, tokenizer = load_base(str(smollm2_135m()), dtype="float32", device="cpu")
    modules = sorted(linear_modules(base))
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM")
    policy = with_adapter(base, tokenizer, lora, seed=0)
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
