"""Token ids as a tree: the common beginnings of token sequences are computed once.

Rollout and update show the model contexts that begin alike (system prompt, start state, earlier
turns) and branch (other actions, other answers). A `TokenTree` numbers every distinct token
position, a node. A `ForwardPlan` lists the nodes that one forward computes: segments of new nodes,
laid end to end with no padding between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy

ROOT = -1


def common_prefix_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return the number of tokens with which both sequences begin."""
    for index, (token, other) in enumerate(zip(left, right, strict=False)):
        if token != other:
            return index
    return min(len(left), len(right))


class TokenTree:
    """Names token positions: sequences that agree up to there are at the same node."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._children)

    def child(self, parent: int, token: int) -> int:
        """The node of a token after the node `parent`, or after `ROOT`. Nodes count from 0."""
        return self._children.setdefault((parent, token), len(self._children))

    def walk(self, node: int, tokens: Sequence[int]) -> int:
        """The node after all the tokens."""
        for token in tokens:
            node = self.child(node, token)
        return node


@dataclass
class Segment:
    """New nodes of one forward, below known ones."""

    path: Sequence[int]
    """The positions of the ancestors' keys, root first: rows of the same forward, or positions in a
    row of the cache."""
    first: int
    """The row of the first node."""
    nodes: list[int] = field(default_factory=list)
    """The nodes, parents before children."""
    tokens: list[int] = field(default_factory=list)
    """The token of each node."""
    parents: list[int] = field(default_factory=list)
    """The index of each node's parent in this segment, -1 for the end of the path."""
    chain: int = 0
    """The number of nodes that follow one another; the rest branch off."""

    def depths(self) -> numpy.ndarray:
        """The position of each node in its own sequence: (nodes,)."""
        depths = numpy.arange(len(self.path), len(self.path) + len(self.nodes))
        for place in range(self.chain, len(self.nodes)):
            parent = self.parents[place]
            depths[place] = len(self.path) if parent < 0 else depths[parent] + 1
        return depths

    def visible(self) -> numpy.ndarray:
        """Which nodes of the segment each of its nodes sees: bool (nodes, nodes)."""
        size = len(self.nodes)
        seen = numpy.zeros((size, size), dtype=bool)
        seen[: self.chain, : self.chain] = numpy.tri(self.chain, dtype=bool)
        for place in range(self.chain, size):
            parent = self.parents[place]
            if parent >= 0:
                seen[place] = seen[parent]
            seen[place, place] = True
        return seen

    def pieces(self, longest: int) -> Iterator[Segment]:
        """Yield the same nodes as segments of at most `longest` nodes that follow one another, each
        below those before it; the branches stay with the last. Their paths are rows of the same
        forward."""
        path, start = self.path, 0
        while self.chain - start > longest:
            stop = start + longest
            yield self._piece(path, start, stop)
            path, start = [*self.path, *range(self.first, self.first + stop)], stop
        yield self._piece(path, start, len(self.nodes)) if start else self

    def _piece(self, path: Sequence[int], start: int, stop: int) -> Segment:
        return Segment(
            path,
            self.first + start,
            self.nodes[start:stop],
            self.tokens[start:stop],
            [parent - start for parent in self.parents[start:stop]],
            min(self.chain, stop) - start,
        )


@dataclass
class Placement:
    """The rows of a context and its branches in a plan."""

    last_node: int
    """The context's last node."""
    rows: list[int]
    """The rows of the tokens given."""
    predicting_rows: list[list[int]]
    """Per branch, for each of its tokens the row that predicts it."""
    branch_rows: list[list[int]]
    """Per branch, the rows of its tokens; the last token has none, because nothing follows it."""
    branch_leaves: list[int]
    """Per branch, the node of its last row."""


class ForwardPlan:
    """The nodes that one forward computes.

    Args:
        tree: names the nodes.
        prefix: known nodes, whose keys exist, from the root on. Their rows are negative, up to -1.

    Attributes:
        segments: in the order of their rows.
        size: rows so far.
        row_of: node -> row, of the nodes that later calls of `add` may find and need not compute.
    """

    def __init__(self, tree: TokenTree, prefix: Sequence[int] = ()) -> None:
        self._tree = tree
        self.prefix = prefix
        self.segments: list[Segment] = []
        self.size = 0
        self.row_of = {node: place - len(prefix) for place, node in enumerate(prefix)}

    def add(
        self,
        parent: int,
        path: Sequence[int],
        tokens: Sequence[int],
        branches: Sequence[Sequence[int]] = (),
    ) -> Placement:
        """Add tokens after the node `parent`, and branches after the last of them.

        Args:
            parent: the last known node.
            path: the positions of the keys of `parent` and its ancestors, root first (see
                `Segment`). A range, if these are the same as their positions in the sequence.
            tokens: at least one.
            branches: token ids of each, at least one each.
        """
        rows: list[int] = []
        known = 0
        node = parent
        for token in tokens:
            child = self._tree.child(node, token)
            row = self.row_of.get(child)
            if row is None:
                break
            node = child
            rows.append(row)
            known += 1
        above = range(len(path) + known) if isinstance(path, range) else [*path, *rows]
        segment = Segment(above, self.size)
        for token in tokens[known:]:
            node = self._new(segment, node, token, len(segment.nodes) - 1)
            self.row_of[node] = segment.first + len(segment.nodes) - 1
            rows.append(self.row_of[node])
        segment.chain = len(segment.nodes)
        last_node, last_index = node, segment.chain - 1
        places: dict[int, int] = {}
        predicting_rows: list[list[int]] = []
        branch_rows: list[list[int]] = []
        branch_leaves = []
        for branch in branches:
            node, place = last_node, last_index
            predicting_rows.append([rows[-1]])
            branch_rows.append([])
            for token in branch[:-1]:
                child = self._tree.child(node, token)
                if child not in places:
                    self._new(segment, node, token, place)
                    places[child] = len(segment.nodes) - 1
                node, place = child, places[child]
                predicting_rows[-1].append(segment.first + place)
                branch_rows[-1].append(segment.first + place)
            branch_leaves.append(node)
        if segment.nodes:
            self.segments.append(segment)
            self.size += len(segment.nodes)
        return Placement(last_node, rows, predicting_rows, branch_rows, branch_leaves)

    def tokens(self) -> list[int]:
        """The token of each row."""
        return [token for segment in self.segments for token in segment.tokens]

    def nodes(self) -> list[int]:
        """The node of each row."""
        return [node for segment in self.segments for node in segment.nodes]

    def positions(self) -> numpy.ndarray:
        """The position of each row's token in its own sequence: (rows,)."""
        depths = [segment.depths() for segment in self.segments]
        return numpy.concatenate(depths or [numpy.zeros(0, dtype=numpy.int64)])

    def _new(self, segment: Segment, parent: int, token: int, place: int) -> int:
        node = self._tree.child(parent, token)
        segment.nodes.append(node)
        segment.tokens.append(token)
        segment.parents.append(place)
        return node
