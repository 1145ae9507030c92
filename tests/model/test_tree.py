"""Token trees: what is shared is computed once, and forwards over them are plain forwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

from contrail.model.policy import Policy

import torch  # isort: skip
from contrail.model import attention  # isort: skip
from contrail.model.attention import Packed, forward  # isort: skip
from contrail.model.tree import ROOT, Placement, ForwardPlan, TokenTree  # isort: skip

EXACT = 1e-4


def test_equal_sequences_are_the_same_nodes() -> None:
    tree = TokenTree()
    assert tree.walk(ROOT, [1, 2, 3]) == tree.walk(tree.walk(ROOT, [1]), [2, 3])
    assert tree.walk(ROOT, [1, 2]) != tree.walk(ROOT, [2, 1])
    assert len(tree) == 5


def test_equal_beginnings_are_computed_once() -> None:
    plan = ForwardPlan(TokenTree())
    first = plan.add(ROOT, [], [1, 2, 3, 4])
    second = plan.add(ROOT, [], [1, 2, 3, 5])
    assert second.rows[:3] == first.rows[:3]
    assert plan.tokens() == [1, 2, 3, 4, 5]
    assert plan.segments[1].path == first.rows[:3]
    assert plan.positions().tolist() == [0, 1, 2, 3, 3]
    third = plan.add(ROOT, [], [1, 2, 3, 4])
    assert third.rows == first.rows
    assert plan.size == 5
    further = plan.add(first.last_node, first.rows, [6])
    assert plan.segments[-1].path == first.rows
    assert plan.positions()[further.rows[0]] == 4


def test_branches_share_their_stems() -> None:
    plan = ForwardPlan(TokenTree())
    placement = plan.add(ROOT, [], [1, 2], [[7, 8, 0], [7, 9, 0], [7], [3]])
    # The last token of a branch is predicted, and never read.
    assert plan.tokens() == [1, 2, 7, 8, 9]
    assert placement.predicting_rows == [[1, 2, 3], [1, 2, 4], [1], [1]]
    assert placement.branch_rows == [[2, 3], [2, 4], [], []]
    (segment,) = plan.segments
    assert segment.depths().tolist() == [0, 1, 2, 3, 3]
    assert segment.visible().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 1],
    ]


def plain(policy: Policy, tokens: list[int]) -> torch.Tensor:
    """(tokens, vocabulary): a forward with nothing of contrail's in it."""
    with torch.no_grad(), policy.reference() as model:
        assert model.config._attn_implementation == "sdpa"
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)


def run(policy: Policy, plan: ForwardPlan, keep: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), policy.reference() as model:
        logits = forward(
            model,
            torch.tensor(plan.tokens()),
            torch.from_numpy(plan.positions()),
            keep,
            Packed(plan, torch.device("cpu")),
        )
        assert model.config._attn_implementation == "sdpa"
    return logits.log_softmax(-1)


@pytest.mark.parametrize("seed", range(4))
def test_random_trees(
    make_tiny: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Contexts that begin alike, and go on from one another's branches."""
    if seed % 2:  # many small blocks
        monkeypatch.setattr(attention, "BLOCK_PAIRS", 60)
        monkeypatch.setattr(attention, "SMALL_BLOCK_PAIRS", 20)
    if seed > 1:  # and long segments divided
        monkeypatch.setitem(attention.LONGEST_PIECE, "cpu", 3)
    policy = make_tiny()
    rng = numpy.random.default_rng(100 + seed)
    plan = ForwardPlan(TokenTree())
    start = rng.integers(512, size=20).tolist()
    grown: list[tuple[Placement, list[int], list[list[int]]]] = []
    contexts: list[tuple[int, list[int], list[int]]] = [(ROOT, [], []) for _ in range(6)]
    for depth in range(3):
        for index, (node, path, before) in enumerate(contexts):
            tokens = rng.integers(3, size=rng.integers(1, 6)).tolist()
            if not depth:
                tokens = start[: rng.integers(5, 20)] + tokens
            branches = [
                rng.integers(3, size=rng.integers(1, 4)).tolist() for _ in range(rng.integers(1, 5))
            ]
            placement = plan.add(node, path, tokens, branches)
            grown.append((placement, before + tokens, branches))
            contexts[index] = (
                placement.branch_leaves[0],
                path + placement.rows + placement.branch_rows[0],
                before + tokens + branches[0][:-1],
            )
    logprobs = run(policy, plan, torch.arange(plan.size))
    for placement, tokens, branches in grown:
        for edges, branch in zip(placement.predicting_rows, branches, strict=True):
            expected = plain(policy, tokens + branch)[len(tokens) - 1 : -1]
            assert (logprobs[edges] - expected).abs().max() < EXACT
    written = sum(len(tokens) + sum(map(len, branches)) for _, tokens, branches in grown)
    assert plan.size < written / 2


def test_rows_are_those_asked_for(make_tiny: Callable[..., Policy]) -> None:
    policy = make_tiny()
    plan = ForwardPlan(TokenTree())
    plan.add(ROOT, [], [5, 6, 7])
    plan.add(ROOT, [], [8])
    every = run(policy, plan, torch.arange(4))
    torch.testing.assert_close(run(policy, plan, torch.tensor([3, 1])), every[[3, 1]])
