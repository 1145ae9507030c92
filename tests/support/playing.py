"""Episodes to play, and what a plain model says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rooms import Rooms

import contrail
from contrail import Observation
from contrail.model.policy import Policy
from contrail.plugins.adapters.react import React
from contrail.seeding import generator

import torch  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.episode import Episode  # isort: skip
from contrail.rollout.play import EnvironmentPool, Job  # isort: skip

EXACT = 1e-4
Make = Callable[..., Policy]


class Alone(contrail.Adapter):
    """Each turn is a conversation of its own; the model chooses."""

    single_turn = True

    def render(self, observation: Observation) -> str:
        return observation.text

    def candidates(self, observation: Observation) -> Sequence[str] | None:
        return observation.actions

    def parse(self, text: str, observation: Observation) -> str:
        return text


class Words(React):
    """Free text; whatever the model writes is an action, unless it is of an odd length."""

    stop = ("@",)

    def parse(self, text: str, observation: Observation) -> str:
        if len(text) % 2:
            raise contrail.InvalidAction(f"{len(text)} letters are odd.")
        return text


class WordsAlone(Words):
    """The same, each turn a conversation of its own."""

    single_turn = True


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
    every: list[int] = []
    for turn in episode.turns:
        history = [*([] if turn.restart else history), *turn.prompt]
        every += [*turn.prompt, *turn.written]
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
    assert every == episode.token_ids
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
