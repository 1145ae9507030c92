"""Keys and values of the contexts under way: a row each, written in place, read without copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch

from contrail.attention import additive, attend_padded, blocks
from contrail.tree import Plan, Segment

# Rows have room for at least so many positions.
POSITIONS = 256


class Cache:
    """By layer: keys and values (rows, positions, heads, width). A row is a context's."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._rows = 0
        self._positions = 0
        self._free: list[int] = []

    def take(self) -> int:
        """A row that nobody uses: the lowest, so that the rows in use lie together."""
        if not self._free:
            self._free.append(self._rows)
            self._rows += 1
        row = min(self._free)
        self._free.remove(row)
        return row

    def give(self, row: int) -> None:
        """Hand a row back."""
        self._free.append(row)

    def reserve(self, positions: int) -> None:
        """Make room for so many positions in every row."""
        if positions > self._positions:
            # By a quarter: what is written is copied rarely, and little is kept free.
            self._positions = max(positions, self._positions * 5 // 4, POSITIONS)
        for layer, held in self.layers.items():
            self.layers[layer] = (self._fit(held[0]), self._fit(held[1]))

    def copy(self, source: int, target: int, positions: int) -> None:
        """Copy the beginning of a row to another."""
        self.reserve(positions)
        for layer in self.layers.values():
            for held in layer:
                held[target, :positions] = held[source, :positions]

    def layer(self, layer: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer; `like`: (n, heads, width) new ones."""
        if layer not in self.layers:
            empty = like.new_empty((0, 0, *like.shape[1:]))
            self.layers[layer] = (self._fit(empty), self._fit(empty))
        return self.layers[layer]

    def index(self, row: int, position: int) -> int:
        """The place of a position in the flattened rows."""
        return row * self._positions + position

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(held.nbytes for layer in self.layers.values() for held in layer)

    def _fit(self, held: torch.Tensor) -> torch.Tensor:
        rows, positions = held.shape[:2]
        if rows >= self._rows and positions >= self._positions:
            return held
        shape = (max(rows, self._rows), max(positions, self._positions), *held.shape[2:])
        grown = _zeros(shape, held)
        grown[:rows, :positions] = held
        return grown


def _zeros(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """What is not written yet is read and masked: it must be finite, because nan * 0 is nan."""
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    # Zeros of numpy take memory when they are written, not before.
    size = math.prod(shape) * like.element_size()
    return torch.from_numpy(numpy.zeros(size, numpy.uint8)).view(like.dtype).view(*shape)


@dataclass
class Step:
    """One token each for some contexts: their cache rows, and the positions of the tokens."""

    rows: list[int]
    positions: list[int]


class Cached:
    """The layout of a rollout's forward: first a `Step`, then the segments of a plan.

    Args:
        cache: with room for all that is written.
        step: single tokens.
        plan: segments whose paths are positions of a cache row.
        rows: the cache row that each segment reads.
        writes: (row of the plan, cache row, position) of all that is kept.
        device: of the model.
    """

    def __init__(
        self,
        cache: Cache,
        step: Step,
        plan: Plan,
        rows: Sequence[int],
        writes: Sequence[tuple[int, int, int]],
        device: torch.device,
    ) -> None:
        self._cache = cache
        self._singles = len(step.rows)
        self.longest = max([*step.positions, *plan.positions().tolist()])
        self._device = device
        sources = list(range(self._singles))
        targets = [cache.index(row, at) for row, at in zip(step.rows, step.positions, strict=True)]
        for source, row, position in writes:
            sources.append(self._singles + source)
            targets.append(cache.index(row, position))
        self._sources = torch.tensor(sources, device=device)
        self._all_kept = sources == list(range(self._singles + plan.size))
        self._targets = torch.tensor(targets, device=device)
        self._step = _StepBlock(step, device) if step.rows else None
        self._blocks = [
            _SegmentBlock(
                [plan.segments[index] for index in indices],
                [rows[index] for index in indices],
                self._singles,
                device,
            )
            for indices in self._together(plan.segments)
        ]
        order = torch.cat([torch.arange(self._singles), *(block.rows for block in self._blocks)])
        self._in_order = bool((order == torch.arange(len(order))).all())
        self._back = order.argsort().to(device)
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def _together(self, segments: Sequence[Segment]) -> Sequence[list[int]]:
        if not segments:
            return []
        if self._device.type == "cpu":
            # A call costs little beside a segment's work, and one alone needs no padding.
            return [[index] for index in range(len(segments))]
        return list(blocks(segments))

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        """See `contrail.attention.Layout`."""
        keys, values = self._cache.layer(layer, key)
        for held, new in ((keys, key), (values, value)):
            written = new if self._all_kept else new.index_select(0, self._sources)
            held.view(-1, *held.shape[2:]).index_copy_(0, self._targets, written)
        if self._blocks:
            self.kept[layer] = (key, value)
        outputs = []
        if self._step is not None:
            outputs.append(self._step.attend(query[: self._singles], keys, values, scaling))
        for block in self._blocks:
            outputs.append(block.attend(query, key, value, keys, values, scaling))
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return out if self._in_order else out.index_select(0, self._back)

    def commit(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Keep more of what this forward computed: (row of the plan, cache row, position)."""
        if not moves:
            return
        sources = torch.tensor([self._singles + move[0] for move in moves], device=self._device)
        targets = torch.tensor(
            [self._cache.index(row, at) for _, row, at in moves], device=self._device
        )
        for layer, new in self.kept.items():
            for held, computed in zip(self._cache.layers[layer], new, strict=True):
                flat = held.view(-1, *held.shape[2:])
                flat.index_copy_(0, targets, computed.index_select(0, sources))


class _StepBlock:
    """Single tokens, each at the end of its row."""

    def __init__(self, step: Step, device: torch.device) -> None:
        span = max(step.rows) + 1
        # Rows that have no token now are computed and thrown away, if they are few: that costs less
        # than copying all the others.
        self._all = 4 * len(step.rows) >= 3 * span
        used = range(span) if self._all else step.rows
        place = {row: index for index, row in enumerate(used)}
        at = [0] * len(used)
        for row, position in zip(step.rows, step.positions, strict=True):
            at[place[row]] = position
        self._rows = torch.tensor(step.rows, device=device)
        self._places = torch.tensor([place[row] for row in step.rows], device=device)
        self._identity = self._all and step.rows == list(used)
        self._length = max(at) + 1
        ends = torch.tensor(at, device=device)[:, None, None]
        self._seen = torch.arange(self._length, device=device)[None, None, :] <= ends
        self._mask: torch.Tensor | None = None

    def attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        count = self._seen.shape[0]
        if self._mask is None:
            self._mask = additive(self._seen, query.shape[1] // keys.shape[2], query.dtype)
        if self._all:
            keys, values = keys[:count, : self._length], values[:count, : self._length]
        else:
            keys = keys[:, : self._length].index_select(0, self._rows)
            values = values[:, : self._length].index_select(0, self._rows)
        if not self._identity:
            spread = query.new_zeros((count, *query.shape[1:]))
            query = spread.index_copy_(0, self._places, query)
        out = attend_padded(query.unsqueeze(1), keys, values, self._mask, scaling)[:, 0]
        return out if self._identity else out.index_select(0, self._places)


class _SegmentBlock:
    """Segments of similar length, padded to the longest.

    A segment sees what its cache row holds of its ancestors, and of its own nodes those `visible`.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        cache_rows: Sequence[int],
        offset: int,
        device: torch.device,
    ) -> None:
        count = len(segments)
        longest = max(len(segment.nodes) for segment in segments)
        self._above = max(len(segment.path) for segment in segments)
        self._cache_rows = torch.tensor(cache_rows, device=device)
        self._row = cache_rows[0] if count == 1 else None
        queries = torch.zeros((count, longest), dtype=torch.long)
        seen = torch.zeros((count, longest, self._above + longest), dtype=torch.bool)
        valid, rows = [], []
        for index, segment in enumerate(segments):
            size, first = len(segment.nodes), segment.first + offset
            own = torch.arange(first, first + size)
            queries[index, :size] = own
            seen[index, :size, : len(segment.path)] = True
            seen[index, :size, self._above : self._above + size] = torch.from_numpy(
                segment.visible()
            )
            # A padded query sees one key, because a softmax over none is not a number.
            seen[index, size:, self._above] = True
            valid.append(torch.arange(index * longest, index * longest + size))
            rows.append(own)
        self.rows = torch.cat(rows)
        self._count = count
        self._queries = queries.reshape(-1).to(device)
        self._valid = torch.cat(valid).to(device)
        self._whole = len(self._valid) == len(self._queries)
        self._seen = seen.to(device)
        self._mask: torch.Tensor | None = None

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float | None,
    ) -> torch.Tensor:
        if self._mask is None:
            self._mask = additive(self._seen, query.shape[1] // key.shape[1], query.dtype)

        def own(new: torch.Tensor) -> torch.Tensor:
            if self._row is not None:
                return new[self.rows[0] : self.rows[-1] + 1].unsqueeze(0)
            spread: torch.Tensor = new.index_select(0, self._queries)
            return spread.view(self._count, -1, *new.shape[1:])

        def all_of(held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            if not self._above:
                return own(new)
            if self._row is not None:
                above = held[self._row : self._row + 1, : self._above]
            else:
                above = held[:, : self._above].index_select(0, self._cache_rows)
            return torch.cat([above, own(new)], dim=1)

        padded = attend_padded(
            own(query), all_of(keys, key), all_of(values, value), self._mask, scaling
        )
        out: torch.Tensor = padded.flatten(0, 1)
        return out if self._whole else out.index_select(0, self._valid)
