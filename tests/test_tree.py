"""Token trees: what is shared, what is freed, and that forwards over them are plain forwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest

from contrail.model import Policy

import torch  # isort: skip
from contrail import tree as tree_module  # isort: skip
from contrail.attention import KeyStore, forward  # isort: skip
from contrail.tree import Growth, TokenTree, batch  # isort: skip

EXACT = 1e-4


def assert_empty(tree: TokenTree) -> None:
    assert sorted(tree._free) == list(range(tree.size))
    assert not any(tree._uses)
    assert not tree._children


def finish(tree: TokenTree, growth: Growth) -> None:
    for slots in growth.branches:
        tree.drop(slots)
    tree.release(growth.path)


def test_equal_beginnings_are_stored_once() -> None:
    tree = TokenTree()
    first = tree.grow([], [1, 2, 3, 4])
    assert first.segment.tokens == [1, 2, 3, 4]
    assert first.segment.path == []
    second = tree.grow([], [1, 2, 3, 5])
    assert second.segment.tokens == [5]
    assert second.segment.path == first.path[:3] == second.path[:3]
    # The last token's hidden state is asked for, so it is computed again.
    third = tree.grow([], [1, 2, 3, 4])
    assert third.segment.tokens == [4]
    assert third.path[3] != first.path[3]
    assert tree.size == 6
    for growth in (first, second, third):
        finish(tree, growth)
    assert_empty(tree)


def test_branches_share_their_stems() -> None:
    tree = TokenTree()
    growth = tree.grow([], [1, 2], [[7, 8, 0], [7, 9, 0], [7, 8], [6], [7, 8, 0]])
    assert growth.segment.tokens == [1, 2, 7, 8, 9]
    assert growth.segment.chain == 2
    assert growth.segment.parents == [-1, 0, 1, 2, 2]
    assert growth.edges == [[1, 2, 3], [1, 2, 4], [1, 2], [1], [1, 2, 3]]
    assert growth.segment.depths().tolist() == [0, 1, 2, 3, 3]
    assert growth.segment.visible().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 1],
    ]
    finish(tree, growth)
    assert_empty(tree)


def test_what_somebody_holds_stays() -> None:
    tree = TokenTree()
    growth = tree.grow([], [1, 2], [[7, 8, 0], [7, 9, 0]])
    tree.hold(growth.branches[1])
    for slots in growth.branches:
        tree.drop(slots)
    assert len(tree._free) == 1  # 8
    path = growth.path + growth.branches[1]
    further = tree.grow(path, [0, 5])
    again = tree.grow([], [1, 2])
    tree.release(further.path)
    assert len(tree._free) == tree.size - 2  # 1, and its second 2
    tree.release(again.path)
    assert_empty(tree)


@dataclass
class Sequence:
    """A context of the random test, beside its token ids written out."""

    path: list[int]
    tokens: list[int]


def plain(policy: Policy, tokens: list[int]) -> torch.Tensor:
    """(tokens, vocabulary): a forward with nothing of contrail's in it."""
    with torch.no_grad(), policy.reference() as model:
        assert model.config._attn_implementation == "sdpa"
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)


def worst(
    policy: Policy,
    tree: TokenTree,
    grown: list[tuple[Growth, list[int], list[list[int]]]],
    store: KeyStore | None,
) -> float:
    """The largest difference between the log-probabilities of branches, and plain ones."""
    laid = batch([growth.segment for growth, _, _ in grown], stored=store is not None, device="cpu")
    assert len(set(laid.slots.tolist())) == len(laid.slots)
    with torch.no_grad(), policy.reference() as model:
        keep = torch.arange(len(laid.tokens))
        logprobs = forward(model, laid, keep, store, tree.size).log_softmax(-1)
    difference = 0.0
    for first, (growth, tokens, branches) in zip(laid.rows, grown, strict=True):
        for edges, branch in zip(growth.edges, branches, strict=True):
            expected = plain(policy, tokens + branch)[len(tokens) - 1 : -1]
            found = logprobs[first + torch.tensor(edges)]
            difference = max(difference, float((found - expected).abs().max()))
    return difference


@pytest.mark.parametrize("seed", range(4))
def test_random_rounds_with_a_store(
    make_tiny: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    if seed % 2:  # many small blocks
        monkeypatch.setattr(tree_module, "BLOCK_PAIRS", 60)
        monkeypatch.setattr(tree_module, "SMALL_BLOCK_PAIRS", 20)
    policy = make_tiny()
    rng = numpy.random.default_rng(seed)
    tree, store = TokenTree(), KeyStore()
    contexts: list[Sequence] = []
    starts = [rng.integers(512, size=length).tolist() for length in (3, 9, 9, 17)]
    starts.append(starts[1][:4] + starts[2])

    def some(length: int) -> list[int]:
        return rng.integers(3, size=length).tolist()  # of few tokens, so that much is shared

    reused = 0
    most = 0
    for _ in range(8):
        for _ in range(rng.integers(4)):
            contexts.append(Sequence([], []))
        grown = []
        asked = []
        for context in contexts:
            if context.path and rng.random() < 0.3:
                continue  # waits for its environment
            tokens = some(rng.integers(1, 5))
            if not context.path:
                tokens = starts[rng.integers(len(starts))] + tokens
            branches = [some(rng.integers(1, 5)) for _ in range(rng.integers(1, 6))]
            before = tree.size
            growth = tree.grow(context.path, tokens, branches)
            reused += len(growth.segment.slots) - (tree.size - before)
            context.path, context.tokens = growth.path, context.tokens + tokens
            grown.append((growth, context.tokens, branches))
            asked.append((context, growth, branches))
        if grown:
            most = max(most, len(grown))
            assert worst(policy, tree, grown, store) < EXACT
        for context, growth, branches in asked:
            if rng.random() < 0.7:  # takes a branch, of which the last token is not in the tree
                chosen = rng.integers(len(branches))
                tree.hold(growth.branches[chosen])
                context.path = context.path + growth.branches[chosen]
                context.tokens = context.tokens + branches[chosen][:-1]
        for _, growth, _ in asked:
            for slots in growth.branches:
                tree.drop(slots)
        for context in list(contexts):
            if context.path and rng.random() < 0.3:
                tree.release(context.path)
                contexts.remove(context)
    assert reused > 20
    assert most > 3
    for context in contexts:
        tree.release(context.path)
    assert_empty(tree)


@pytest.mark.parametrize("seed", range(3))
def test_random_trees_without_a_store(make_tiny: Callable[..., Policy], seed: int) -> None:
    """The form of training: all in one forward, ancestors of a segment in other segments."""
    policy = make_tiny()
    rng = numpy.random.default_rng(100 + seed)
    tree = TokenTree()
    start = rng.integers(512, size=20).tolist()
    contexts = [Sequence([], []) for _ in range(6)]
    grown = []
    for depth in range(3):
        for context in contexts:
            tokens = rng.integers(3, size=rng.integers(1, 6)).tolist()
            if not depth:
                tokens = start[: rng.integers(5, 20)] + tokens
            branches = [
                rng.integers(3, size=rng.integers(1, 4)).tolist() for _ in range(rng.integers(1, 5))
            ]
            growth = tree.grow(context.path, tokens, branches)
            tokens = context.tokens + tokens
            grown.append((growth, tokens, branches))
            context.path = growth.path + growth.branches[0]
            context.tokens = tokens + branches[0][:-1]
    assert worst(policy, tree, grown, None) < EXACT
    computed = sum(len(growth.segment.slots) for growth, _, _ in grown)
    written = sum(len(t) + sum(map(len, b)) for _, t, b in grown)
    assert computed < written / 2


def test_rows_are_those_asked_for(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    tree = TokenTree()
    growths = [tree.grow([], [5, 6, 7]), tree.grow([], [8])]
    laid = batch([growth.segment for growth in growths], stored=False, device="cpu")
    with torch.no_grad(), policy.reference() as model:
        every = forward(model, laid, torch.arange(4))
        some = forward(model, laid, torch.tensor([3, 1]))
        assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(some, every[[3, 1]])
