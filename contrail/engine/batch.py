"""The tokens of one forward of a rollout, and the requests that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy

from contrail import sampler
from contrail.engine.cache import Step
from contrail.model.tree import ROOT, ForwardPlan, Placement, TokenTree


@dataclass(eq=False)
class Context(sampler.Context):
    """The keys of the first `stored` tokens are in the context's row of the cache.

    `node`: in the engine's tree, of the last stored token.
    """

    stored: int = 0
    node: int = ROOT
    row: int = -1


@dataclass
class Extension:
    """Tokens to append to a context, and the decision that the model makes there in one forward."""

    context: Context
    tokens: Sequence[int]
    """The tokens; none if one sampled token follows another."""
    branches: Sequence[Sequence[int]] = ()
    """The token ids of candidates, one of which is chosen; if empty, one token of the vocabulary is
    sampled."""
    draw: float | None = None
    """Uniform from [0, 1); None to take the likeliest."""


@dataclass
class RequestPart:
    """A request's part of a forward, with some or all of its branches."""

    index: int
    """The request's index."""
    request: Extension
    branches: Sequence[Sequence[int]]
    last: bool
    """Whether no more branches follow."""
    placement: Placement | None
    """Its rows in the plan; None for a single token."""
    chosen: list[int] = field(default_factory=list)
    """The tokens decided on."""
    kept: int = 0
    """The number of these whose keys are in the cache already."""

    def settle(self, tree: TokenTree) -> None:
        """Bring the context up to date after the forward."""
        context = self.request.context
        end = len(context.tokens)
        # The next portion of branches follows the last token, which it computes again.
        stored = end if self.last else end - 1
        context.node = tree.walk(context.node, context.tokens[context.stored : stored])
        context.node = tree.walk(context.node, self.chosen[: self.kept])
        context.stored = stored + self.kept
        context.tokens.extend(self.chosen)


class Batch:
    """Collects the parts of one forward: single tokens first, then a plan of segments.

    Attributes:
        step: contexts with a single new token and no branches.
        plan: everything else.
        rows: for each segment of the plan the cache row that it reads.
        writes: (row of the plan, cache row, position) of the keys to store.
        items: those of the single tokens first.
        longest: positions that the cache needs.
    """

    def __init__(self, tree: TokenTree) -> None:
        self._tree = tree
        self.step = Step([], [])
        self.plan = ForwardPlan(tree)
        self.rows: list[int] = []
        self.writes: list[tuple[int, int, int]] = []
        self.longest = 0
        self._single: list[RequestPart] = []
        self._grown: list[RequestPart] = []
        self._alike: dict[tuple[object, ...], Placement] = {}

    @property
    def size(self) -> int:
        """Tokens to compute."""
        return len(self._single) + self.plan.size

    @property
    def items(self) -> list[RequestPart]:
        return self._single + self._grown

    def add(
        self, index: int, request: Extension, branches: Sequence[Sequence[int]], last: bool
    ) -> None:
        """Add a request with some of its branches; with the last of them if `last`."""
        context = request.context
        pending = context.tokens[context.stored :]
        self.longest = max(self.longest, len(context.tokens))
        if len(pending) == 1 and not branches:
            self.step.rows.append(context.row)
            self.step.positions.append(context.stored)
            self._single.append(RequestPart(index, request, branches, last, None))
            return
        key = (context.node, *pending, -1, *(tuple(branch) for branch in branches))
        placement = self._alike.get(key)
        if placement is None:
            count = len(self.plan.segments)
            placement = self.plan.add(context.node, range(context.stored), pending, branches)
            self.rows.extend([context.row] * (len(self.plan.segments) - count))
            self._alike[key] = placement
        for position, row in enumerate(placement.rows, start=context.stored):
            self.writes.append((row, context.row, position))
        self._grown.append(RequestPart(index, request, branches, last, placement))

    def tokens(self) -> list[int]:
        """Return the token of each row."""
        return [item.request.context.tokens[-1] for item in self._single] + self.plan.tokens()

    def nodes(self) -> list[int]:
        """Return the node of each row."""
        single = []
        for item in self._single:
            context = item.request.context
            single.append(self._tree.child(context.node, context.tokens[-1]))
        return single + self.plan.nodes()

    def positions(self) -> numpy.ndarray:
        """Return the position of each row's token: (size,)."""
        return numpy.concatenate([self.step.positions, self.plan.positions()]).astype(numpy.int64)

    def asked(self) -> list[int]:
        """Return the row of each item without branches, then of each branch's each token."""
        offset = len(self._single)
        rows = list(range(offset))
        grown = [(item, item.placement) for item in self._grown if item.placement is not None]
        rows += [offset + placement.rows[-1] for item, placement in grown if not item.branches]
        for item, placement in grown:
            if item.branches:
                rows += [offset + row for branch in placement.predicting_rows for row in branch]
        return rows
