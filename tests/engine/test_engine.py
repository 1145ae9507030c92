"""The engine: decisions are those of plain forwards, and equal work is done once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy
import pytest

from contrail.model.policy import Policy

import torch  # isort: skip
from contrail.model.attention import blocks  # isort: skip
from contrail.engine.cache import Cache, Cached  # isort: skip
from contrail.engine.decide import Drawn, choice_logprobs  # isort: skip
from contrail.engine.engine import Engine  # isort: skip
from contrail.engine.batch import Context, Extension, Batch  # isort: skip
from contrail.model.tree import Segment  # isort: skip

EXACT = 1e-4
TEMPERATURE = 0.7


def plain(policy: Policy, tokens: list[int]) -> torch.Tensor:
    """(tokens, vocabulary): logits of the unmerged PEFT model, with nothing of contrail's in it."""
    with torch.no_grad():
        return policy.model.eval()(input_ids=torch.tensor([tokens])).logits[0]


def difference(policy: Policy, tokens: list[int], request: Extension, decision: Drawn) -> float:
    """The largest one between a decision after the tokens, and plain forwards."""
    if not request.branches:
        expected = (plain(policy, tokens)[-1] / TEMPERATURE).log_softmax(-1)
        return abs(float(expected[decision.choice]) - decision.logprob)
    scores = []
    for branch in request.branches:
        logprobs = plain(policy, [*tokens, *branch])[len(tokens) - 1 : -1].log_softmax(-1)
        scores.append(logprobs[torch.arange(len(branch)), list(branch)].mean())
    expected = choice_logprobs(torch.stack(scores), TEMPERATURE)
    assert decision.choice_logprobs is not None
    assert decision.logprob == pytest.approx(decision.choice_logprobs[decision.choice])
    return float((torch.tensor(decision.choice_logprobs) - expected).abs().max())


def assert_empty(engine: Engine) -> None:
    assert not engine._live
    assert sorted(engine._cache._free) == list(range(len(engine._cache._ends)))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("seed", "max_tokens"), [(0, 2048), (1, 10), (2, 40), (3, 3)])
def test_random_requests(
    make_tiny: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    max_tokens: int,
    padded: bool,
) -> None:
    """Branches and free text side by side, over many rounds, with equal contexts and requests."""
    if padded:  # as on a GPU
        gpu = torch.device("cuda")

        def together(_: Cached, segments: Sequence[Segment]) -> list[list[int]]:
            return list(blocks(segments, gpu)) if segments else []

        monkeypatch.setattr(Cached, "_together", together)
    policy = make_tiny()
    rng = numpy.random.default_rng(seed)

    def some(length: int) -> list[int]:
        return rng.integers(2, size=length).tolist()

    start = rng.integers(512, size=20).tolist()  # long enough to be copied by later ones
    shared = [some(3) for _ in range(3)]
    contexts: list[Context] = []
    with policy.acting() as model:
        engine = Engine(model, TEMPERATURE, max_tokens)
    worst = 0.0
    for _ in range(10):
        contexts.extend(Context() for _ in range(rng.integers(1, 6)))
        requests = []
        for context in contexts:
            if context.tokens and rng.random() < 0.2:
                continue  # waits for its environment
            tokens = some(rng.integers(1, 4)) if context.tokens else start + some(2)
            branches: list[list[int]] = []
            if rng.random() < 0.6:
                branches = shared if rng.random() < 0.5 else [some(n) for n in (1, 2, 4, 4)]
            elif context.tokens and rng.random() < 0.7:
                tokens = []
            draw = None if rng.random() < 0.2 else float(rng.random())
            requests.append(Extension(context, tokens, branches, draw))
        asked = [[*request.context.tokens, *request.tokens] for request in requests]
        with policy.acting():
            decisions = engine.run(requests)
        for request, tokens, decision in zip(requests, asked, decisions, strict=True):
            worst = max(worst, difference(policy, tokens, request, decision))
            made = [decision.choice]
            if request.branches:
                made = list(request.branches[decision.choice])
            assert request.context.tokens == tokens + made
            assert request.context.stored < len(request.context.tokens)
        for context in list(contexts):
            if rng.random() < 0.25:
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
    with policy.acting() as model:
        engine = Engine(model)
        draws = [index % 2 * 0.999 for index in range(8)]
        decisions = engine.run(
            [
                Extension(context, [5, 6, 7], branches, draw)
                for context, draw in zip(contexts, draws, strict=True)
            ]
        )
        assert engine.computed_tokens == 3 + 2
        assert [decision.choice for decision in decisions] == [0, 1] * 4
        # Of what they chose only the last token is computed, and equal histories stay one.
        engine.run([Extension(context, [9], [[8], [7]], 0.5) for context in contexts])
        assert engine.computed_tokens == 5 + 2 * 2
    assert [context.stored for context in contexts] == [6, 7] * 4


def test_as_many_keys_to_store_as_tokens_computed(make_tiny: Callable[..., Policy]) -> None:
    """Two contexts store a prompt of three tokens each, beside which three of branches stand."""
    policy = make_tiny()
    contexts = [Context(), Context()]
    with policy.acting() as model:
        engine = Engine(model, TEMPERATURE)
        branches = [[1, 2, 3, 4]]
        engine.run([Extension(context, [5, 6, 7], branches, 0.5) for context in contexts])
        assert engine.computed_tokens == 2 * 3
        requests = [Extension(item, [8 + place], (), 0.5) for place, item in enumerate(contexts)]
        decisions = engine.run(requests)
    for request, decision in zip(requests, decisions, strict=True):
        tokens = request.context.tokens[:-1]
        assert difference(policy, tokens, request, decision) < EXACT


def test_a_start_that_others_share_is_computed_once(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    system = list(range(50))
    contexts = [Context() for _ in range(5)]
    late = Context()
    with policy.acting() as model:
        engine = Engine(model, TEMPERATURE)
        engine.run(
            [Extension(item, [*system, 100 + index, 7]) for index, item in enumerate(contexts)]
        )
        assert engine.computed_tokens == 50 + 5 * 2
        request = Extension(late, [*system, 100, 7, 8])
        (decision,) = engine.run([request])
        assert engine.computed_tokens == 50 + 5 * 2 + 1
    assert difference(policy, [*system, 100, 7, 8], request, decision) < EXACT
    for context in [*contexts, late]:
        engine.finish(context)
    assert_empty(engine)


def test_many_candidates_take_several_forwards(
    make_tiny: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_tiny()
    rng = numpy.random.default_rng(0)
    branches = [rng.integers(512, size=rng.integers(1, 9)).tolist() for _ in range(400)]
    context = Context()
    sizes = []
    with policy.acting() as model:
        engine = Engine(model, TEMPERATURE, max_tokens=100)
        run = engine._run

        def counted(work: Batch, *rest: object) -> None:
            sizes.append(work.size)
            run(work, *rest)

        monkeypatch.setattr(engine, "_run", counted)
        request = Extension(context, [1, 2, 3], branches, 0.5)
        (decision,) = engine.run([request])
        assert difference(policy, [1, 2, 3], request, decision) < EXACT
        assert len(sizes) >= 10
        assert max(sizes) <= 200
        # What was chosen may be of an earlier forward, and is then computed again.
        tokens = [*context.tokens, 4]
        request = Extension(context, [4], (), 0.5)
        (decision,) = engine.run([request])
    assert difference(policy, tokens, request, decision) < EXACT


def test_rows_are_used_again(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    with policy.acting() as model:
        engine = Engine(model, TEMPERATURE)
        for first in range(20):
            context = Context()
            request = Extension(context, [first, 6, 7], [[1, 2], [3]], 0.5)
            (decision,) = engine.run([request])
            assert context.row == 0
            engine.finish(context)
    assert difference(policy, [19, 6, 7], request, decision) < EXACT
    assert_empty(engine)


def test_rows_grow_and_keep_what_they_hold() -> None:
    cache = Cache(torch.device("cpu"))
    rows = [cache.take() for _ in range(3)]
    cache.reserve(5)
    keys, values = cache.layer(0, torch.ones(1, 2, 4), torch.ones(1, 2, 4))
    for held, value in ((keys, 1.0), (values, 2.0)):
        places = torch.tensor([cache.claim(1, position) for position in range(5)])
        held.view(-1, 2, 4)[places] = value
    cache.copy(1, 2, 5)
    rows.append(cache.take())
    cache.reserve(3000)
    keys, values = cache.layer(0, torch.ones(1, 2, 4), torch.ones(1, 2, 4))
    assert keys.shape == (4, 3000, 2, 4)
    assert (keys[1:3, :5] == 1).all()
    assert (values[1:3, :5] == 2).all()
    assert not keys[:, 5:].any()
    assert rows == [0, 1, 2, 3]
    cache.give(1)
    assert cache.take() == 1
