"""Token ids as a tree: what several token sequences share is stored, and computed, once.

Rollout and update describe the same thing to the model: contexts that begin alike (system prompt,
start state, earlier turns) and branch (other actions, other answers). A `TokenTree` gives every
distinct token position, a node, one slot. A `Segment` is a run of new nodes below a path of known
ones; a `Batch` is many segments laid end to end for one forward, with no padding between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy
import torch

# Attention works on blocks of segments padded to the longest. A block holds at most so many
# query-key pairs, of which at most this share is padding; small blocks may be all padding.
BLOCK_PAIRS = 1 << 21
BLOCK_PADDING = 0.3
SMALL_BLOCK_PAIRS = 1 << 14

Device = torch.device | str


@dataclass
class Segment:
    """New nodes below a path.

    `path`: slots of the ancestors, root first. `slots`, `tokens`, `parents`: one entry a node,
    parents before children; `parents` are places in this segment, -1 for the end of the path.
    The first `chain` nodes follow one another; the rest branch off.
    """

    path: list[int]
    slots: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    chain: int = 0

    def depths(self) -> numpy.ndarray:
        """The position of each node in its own sequence."""
        depths = numpy.arange(len(self.path), len(self.path) + len(self.slots))
        for place in range(self.chain, len(self.slots)):
            parent = self.parents[place]
            depths[place] = len(self.path) if parent < 0 else depths[parent] + 1
        return depths

    def visible(self) -> numpy.ndarray:
        """Which nodes of the segment each of its nodes sees: bool (nodes, nodes)."""
        size = len(self.slots)
        seen = numpy.zeros((size, size), dtype=bool)
        seen[: self.chain, : self.chain] = numpy.tri(self.chain, dtype=bool)
        for place in range(self.chain, size):
            parent = self.parents[place]
            if parent >= 0:
                seen[place] = seen[parent]
            seen[place, place] = True
        return seen


@dataclass
class Growth:
    """What `TokenTree.grow` made.

    `path`: slots of the whole context. `branches[b]`: slots of branch b's nodes below it; its last
    token has none, because nothing is read off it. `segment`: the nodes to compute. `edges[b]`: for
    each token of branch b the place in the segment of the node that predicts it; the context's last
    node is always in the segment.
    """

    path: list[int]
    branches: list[list[int]]
    segment: Segment
    edges: list[list[int]]


class TokenTree:
    """Slots for token positions, shared by all sequences that agree up to there."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._key: list[tuple[int, int]] = []
        self._uses: list[int] = []
        self._free: list[int] = []

    @property
    def size(self) -> int:
        """Slots ever needed at the same time."""
        return len(self._key)

    def grow(
        self, path: Sequence[int], tokens: Sequence[int], branches: Sequence[Sequence[int]] = ()
    ) -> Growth:
        """Add tokens at the end of a path, and branches below them.

        Known nodes are taken over, but for the last token's: its hidden state is what the branches
        are predicted from, so it is computed (again). The new path is held until `release`.

        Args:
            path: slots held by the caller.
            tokens: at least one.
            branches: token ids of each, at least one each, not held: see `hold`.
        """
        path = list(path)
        kept = len(path)
        known = 0
        parent = path[-1] if path else -1
        for token in tokens[:-1]:
            slot = self._children.get((parent, token))
            if slot is None:
                break
            path.append(slot)
            parent = slot
            known += 1
        segment = Segment(list(path))
        place = -1
        for token in tokens[known:]:
            parent = self._new(segment, parent, token, place)
            path.append(parent)
            place += 1
        segment.chain = len(segment.slots)
        self.hold(path[kept:])
        leaf_slot, leaf_place = parent, place
        places: dict[int, int] = {}
        all_slots, all_edges = [], []
        for branch in branches:
            parent, place = leaf_slot, leaf_place
            slots, edges = [], [place]
            for token in branch[:-1]:
                slot = self._children.get((parent, token), -1)
                if slot not in places:
                    slot = self._new(segment, parent, token, place)
                    places[slot] = len(segment.slots) - 1
                parent, place = slot, places[slot]
                slots.append(slot)
                edges.append(place)
            all_slots.append(slots)
            all_edges.append(edges)
        return Growth(path, all_slots, segment, all_edges)

    def hold(self, slots: Sequence[int]) -> None:
        """Keep nodes until a matching `release`."""
        for slot in slots:
            self._uses[slot] += 1

    def release(self, slots: Sequence[int]) -> None:
        """Give nodes back; those nobody holds any more are forgotten, children first."""
        for slot in slots:
            self._uses[slot] -= 1
        self.drop(slots)

    def drop(self, slots: Sequence[int]) -> None:
        """Forget those of the nodes that nobody holds."""
        for slot in reversed(slots):
            key = self._key[slot]
            if self._uses[slot] == 0 and key != _FREE:
                if self._children.get(key) == slot:
                    del self._children[key]
                self._key[slot] = _FREE
                self._free.append(slot)

    def _new(self, segment: Segment, parent: int, token: int, place: int) -> int:
        key = (parent, token)
        if self._free:
            slot = self._free.pop()
            self._key[slot] = key
        else:
            slot = len(self._key)
            self._key.append(key)
            self._uses.append(0)
        self._children[key] = slot
        segment.slots.append(slot)
        segment.tokens.append(token)
        segment.parents.append(place)
        return slot


_FREE = (-2, -2)


@dataclass
class Block:
    """Segments of similar length, padded to the longest for attention.

    `queries`: (S, Q) rows of the batch, padded with row 0. `valid`: (n,) places of real queries in
    the flattened (S, Q). `keys`: (S * K,) rows of the key store. `mask`: (S, 1, Q, K) bool.
    """

    queries: torch.Tensor
    valid: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor


@dataclass
class Batch:
    """Segments for one forward.

    `tokens`, `positions`, `slots`: (n,). `rows[i]`: the row of the first node of segment i, in the
    order in which the segments were given.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    rows: list[int]
    blocks: list[Block]


def batch(segments: Sequence[Segment], *, stored: bool, device: Device) -> Batch:
    """Lay segments out for one forward.

    Args:
        segments: at least one; no slot stands in two of them.
        stored: keys are read from a store by slot; otherwise from this forward, whose segments
            then hold all their own ancestors.
        device: where the tensors go.
    """
    order = sorted(
        range(len(segments)),
        key=lambda index: (len(segments[index].slots), len(segments[index].path), index),
    )
    rows = [0] * len(segments)
    total = 0
    for index in order:
        rows[index] = total
        total += len(segments[index].slots)
    laid = [segments[index] for index in order]
    slots = numpy.concatenate([numpy.asarray(segment.slots) for segment in laid])
    row_of = None
    if not stored:
        row_of = numpy.zeros(int(slots.max()) + 1, dtype=numpy.int64)
        row_of[slots] = numpy.arange(total)
    blocks = []
    begin = 0
    for end in _block_ends(laid):
        blocks.append(_block(laid[begin:end], rows[order[begin]], row_of, device))
        begin = end
    return Batch(
        tokens=torch.tensor([token for item in laid for token in item.tokens], device=device),
        positions=torch.from_numpy(numpy.concatenate([item.depths() for item in laid])).to(device),
        slots=torch.from_numpy(slots).to(device),
        rows=rows,
        blocks=blocks,
    )


def _block_ends(segments: Sequence[Segment]) -> Iterator[int]:
    """Where each block of the sorted segments ends."""
    begin = longest = widest = pairs = 0
    for index, segment in enumerate(segments):
        queries = len(segment.slots)
        keys = queries + len(segment.path)
        padded = (index + 1 - begin) * max(longest, queries) * max(widest, keys)
        padding = 1 - (pairs + queries * keys) / padded
        if index > begin and (
            padded > BLOCK_PAIRS or (padding > BLOCK_PADDING and padded > SMALL_BLOCK_PAIRS)
        ):
            yield index
            begin, longest, widest, pairs = index, 0, 0, 0
        longest, widest = max(longest, queries), max(widest, keys)
        pairs += queries * keys
    yield len(segments)


def _block(
    segments: Sequence[Segment], first: int, row_of: numpy.ndarray | None, device: Device
) -> Block:
    count = len(segments)
    longest = max(len(segment.slots) for segment in segments)
    widest = max(len(segment.path) + len(segment.slots) for segment in segments)
    queries = numpy.zeros((count, longest), dtype=numpy.int64)
    keys = numpy.zeros((count, widest), dtype=numpy.int64)
    mask = numpy.zeros((count, 1, longest, widest), dtype=bool)
    valid = []
    for index, segment in enumerate(segments):
        size, above = len(segment.slots), len(segment.path)
        queries[index, :size] = numpy.arange(first, first + size)
        first += size
        keys[index, :above] = segment.path
        keys[index, above : above + size] = segment.slots
        mask[index, 0, :size, :above] = True
        mask[index, 0, :size, above : above + size] = segment.visible()
        # A padded query sees one key, because a softmax over none is not a number.
        mask[index, 0, size:, 0] = True
        valid.append(numpy.arange(index * longest, index * longest + size))
    return Block(
        queries=torch.from_numpy(queries).to(device),
        valid=torch.from_numpy(numpy.concatenate(valid)).to(device),
        keys=torch.from_numpy((keys if row_of is None else row_of[keys]).reshape(-1)).to(device),
        mask=torch.from_numpy(mask).to(device),
    )
