"""The engine: answers are those of plain forwards, equal work is done once, everything is freed."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

from contrail.model import Policy

import torch  # isort: skip
from contrail.rollout.engine import Context, Engine, Request  # isort: skip
from contrail.rollout import engine as engine_module  # isort: skip

EXACT = 1e-4


def plain(policy: Policy, tokens: list[int]) -> torch.Tensor:
    """(tokens, vocabulary): logits of the unmerged PEFT model, with nothing of contrail's in it."""
    with torch.no_grad():
        return policy.model.eval()(input_ids=torch.tensor([tokens])).logits[0]


def difference(policy: Policy, tokens: list[int], request: Request, answer: object) -> float:
    """The largest one between an answer and plain forwards."""
    worst = 0.0
    for branch, found in zip(request.branches, answer.branches, strict=True):
        logprobs = plain(policy, tokens + branch)[len(tokens) - 1 : -1].log_softmax(-1)
        expected = logprobs[torch.arange(len(branch)), branch]
        worst = max(worst, float((found - expected).abs().max()))
    if not request.branches:
        expected = (plain(policy, tokens)[-1] / 0.7).log_softmax(-1)
        worst = max(worst, float((answer.next - expected).abs().max()))
    return worst


def assert_empty(engine: Engine) -> None:
    tree = engine._tree
    assert sorted(tree._free) == list(range(tree.size))
    assert not any(tree._uses)
    assert not tree._children
    assert not engine._branch_slots


@pytest.mark.parametrize(("seed", "max_tokens"), [(0, 2048), (1, 10), (2, 40)])
def test_random_requests(
    make_tiny: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    max_tokens: int,
) -> None:
    """Branches and free text side by side, over many rounds, with equal contexts and requests."""
    monkeypatch.setattr(engine_module, "LOGITS_AT_ONCE", 512 * 7)
    policy = make_tiny()
    rng = numpy.random.default_rng(seed)

    def some(length: int) -> list[int]:
        return rng.integers(2, size=length).tolist()

    texts: dict[int, list[int]] = {}
    contexts: list[Context] = []
    worst = 0.0
    with policy.merged() as model:
        engine = Engine(model, temperature=0.7, max_tokens=max_tokens)
    shared = [some(3) for _ in range(3)]
    for _ in range(7):
        for _ in range(rng.integers(1, 6)):
            contexts.append(Context())
            texts[id(contexts[-1])] = []
        requests = []
        for context in contexts:
            branches = shared if rng.random() < 0.5 else [some(length) for length in (1, 2, 4, 4)]
            requests.append(
                Request(
                    context,
                    some(rng.integers(1, 4)),
                    branches if rng.random() < 0.7 else [],
                )
            )
        with policy.merged():
            answers = engine.run(requests)
        for request, answer in zip(requests, answers, strict=True):
            texts[id(request.context)] += request.tokens
            tokens = texts[id(request.context)]
            assert len(request.context.path) == len(tokens)
            worst = max(worst, difference(policy, tokens, request, answer))
        for request in requests:
            if request.branches and rng.random() < 0.8:
                chosen = int(rng.integers(len(request.branches)))
                engine.choose(request.context, chosen)
                texts[id(request.context)] += request.branches[chosen][:-1]
        engine.settle()
        for context in list(contexts):
            if rng.random() < 0.3:
                engine.finish(context)
                contexts.remove(context)
    assert worst < EXACT
    for context in contexts:
        engine.finish(context)
    assert_empty(engine)


def test_equal_requests_are_computed_once(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    branches = [[1, 2], [1, 3, 4]]
    contexts = [Context() for _ in range(8)]
    with policy.merged() as model:
        engine = Engine(model)
        answers = engine.run([Request(context, [5, 6, 7], branches) for context in contexts])
        assert engine.computed_tokens == 3 + 2
        assert all(answer.branches is answers[0].branches for answer in answers)
        for index, context in enumerate(contexts):
            engine.choose(context, index % 2)
        engine.settle()
        # Of what they chose nothing is computed again, and equal histories stay one.
        requests = [
            Request(context, [2 + 2 * (index % 2), 9]) for index, context in enumerate(contexts)
        ]
        engine.run(requests)
        assert engine.computed_tokens == 5 + 2 * 2
        assert len({context.path[-1] for context in contexts}) == 2
    for context in contexts:
        engine.finish(context)
    assert_empty(engine)


def test_a_start_that_others_share_is_computed_once(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    system = list(range(50))
    contexts = [Context() for _ in range(5)]
    with policy.merged() as model:
        engine = Engine(model)
        engine.run(
            [Request(item, [*system, 100 + index, 7]) for index, item in enumerate(contexts)]
        )
        assert engine.computed_tokens == 50 + 5 * 2
        late = Context()
        engine.run([Request(late, [*system, 100, 7, 8])])
        assert engine.computed_tokens == 50 + 5 * 2 + 1
    for context in [*contexts, late]:
        engine.finish(context)
    assert_empty(engine)


def test_slots_are_used_again(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    with policy.merged() as model:
        engine = Engine(model)
        for first in range(20):
            context = Context()
            request = Request(context, [first, 6, 7], [[1, 2], [3]])
            (answer,) = engine.run([request])
            engine.settle()
            engine.finish(context)
            assert engine._tree.size == 4
    assert difference(policy, [19, 6, 7], request, answer) < EXACT
    assert_empty(engine)
