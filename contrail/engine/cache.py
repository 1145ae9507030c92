"""Keys and values of the contexts under way: a row each, written in place, read without copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from contrail.engine.memory import Memory, lazy
from contrail.model.attention import additive, attend_padded, blocks, within
from contrail.model.tree import ForwardPlan, Segment

# The smallest number of positions of a row.
POSITIONS = 256


class Cache:
    """By layer: keys and values (rows, positions, heads, width). A row is a context's."""

    def __init__(self, device: torch.device) -> None:
        # If memory costs nothing, rows begin large, so that they are rarely copied.
        self._growth = 2.0 if lazy(device) else 1.25
        self._layers: dict[int, tuple[Memory, Memory]] = {}
        self._ends: list[int] = []  # of each row: positions written
        self._positions = 0
        self._free: list[int] = []

    @property
    def layers(self) -> int:
        """Of how many layers it holds keys."""
        return len(self._layers)

    def take(self) -> int:
        """Return an unused row: the lowest, so that the rows in use lie together."""
        if not self._free:
            self._free.append(len(self._ends))
            self._ends.append(0)
        row = min(self._free)
        self._free.remove(row)
        return row

    def give(self, row: int) -> None:
        """Return a row, and free its memory if possible."""
        self._free.append(row)
        self._ends[row] = 0
        for layer in self._layers.values():
            for memory in layer:
                memory.clear(row)

    def reserve(self, positions: int) -> None:
        """Make room for `positions` positions in every row."""
        if positions > self._positions:
            self._positions = max(positions, int(self._positions * self._growth), POSITIONS)
        for layer in self._layers.values():
            for memory in layer:
                memory.grow(self._positions, self._ends)

    def copy(self, source: int, target: int, positions: int) -> None:
        """Copy the beginning of a row to another."""
        self.reserve(positions)
        self._ends[target] = max(self._ends[target], positions)
        for layer in self._layers.values():
            for memory in layer:
                memory.data[target, :positions] = memory.data[source, :positions]

    def layer(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer; `key`, `value`: (n, heads, width) new ones."""
        if layer not in self._layers:
            self._layers[layer] = (Memory(key), Memory(value))
            for memory in self._layers[layer]:
                memory.grow(self._positions, self._ends)
        keys, values = self._layers[layer]
        return keys.data, values.data

    def claim(self, row: int, position: int) -> int:
        """Return the index, in the flattened rows, of a position that is about to be written."""
        self._ends[row] = max(self._ends[row], position + 1)
        return row * self._positions + position


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
        plan: ForwardPlan,
        rows: Sequence[int],
        writes: Sequence[tuple[int, int, int]],
        device: torch.device,
    ) -> None:
        self._cache = cache
        self._singles = len(step.rows)
        self._device = device
        sources = list(range(self._singles))
        targets = [cache.claim(row, at) for row, at in zip(step.rows, step.positions, strict=True)]
        for source, row, position in writes:
            sources.append(self._singles + source)
            targets.append(cache.claim(row, position))
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
        return list(blocks(segments, self._device))

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """See `contrail.model.attention.Layout`."""
        keys, values = self._cache.layer(layer, key, value)
        for held, new in ((keys, key), (values, value)):
            written = new if self._all_kept else new.index_select(0, self._sources)
            held.view(-1, *held.shape[2:]).index_copy_(0, self._targets, written)
        if self._blocks:
            self.kept[layer] = (key, value)
        outputs = []
        if self._step is not None:
            outputs.append(self._step.attend(query[: self._singles], keys, values, scaling, window))
        for block in self._blocks:
            outputs.append(block.attend(query, key, value, keys, values, scaling, window))
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return out if self._in_order else out.index_select(0, self._back)

    def commit(self, moves: Sequence[tuple[int, int, int]]) -> None:
        """Keep more of this forward's keys: (row of the plan, cache row, position)."""
        if not moves:
            return
        sources = torch.tensor([self._singles + move[0] for move in moves], device=self._device)
        targets = torch.tensor(
            [self._cache.claim(row, at) for _, row, at in moves], device=self._device
        )
        for layer, new in self.kept.items():
            for held, computed in zip(self._cache.layer(layer, *new), new, strict=True):
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
        self._queries = torch.tensor(at, device=device)[:, None]
        self._keys = torch.arange(self._length, device=device)[None, :]
        self._seen = self._keys[:, None, :] <= self._queries[:, :, None]
        self._masks: dict[int | None, torch.Tensor] = {}

    def attend(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        count = self._seen.shape[0]
        if window not in self._masks:
            seen = within(self._seen, self._queries, self._keys, window)
            groups = query.shape[1] // keys.shape[2]
            self._masks[window] = additive(seen, groups, query.dtype)
        if self._all:
            keys, values = keys[:count, : self._length], values[:count, : self._length]
        else:
            keys = keys[:, : self._length].index_select(0, self._rows)
            values = values[:, : self._length].index_select(0, self._rows)
        if not self._identity:
            spread = query.new_zeros((count, *query.shape[1:]))
            query = spread.index_copy_(0, self._places, query)
        out = attend_padded(query.unsqueeze(1), keys, values, self._masks[window], scaling)[:, 0]
        return out if self._identity else out.index_select(0, self._places)


class _SegmentBlock:
    """Segments of similar length, padded to the longest.

    A segment sees its ancestors in its cache row, and its own `visible` nodes.
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
        positions = torch.zeros((count, longest), dtype=torch.long)
        valid, rows = [], []
        for index, segment in enumerate(segments):
            size, first = len(segment.nodes), segment.first + offset
            own = torch.arange(first, first + size)
            queries[index, :size] = own
            seen[index, :size, : len(segment.path)] = True
            seen[index, :size, self._above : self._above + size] = torch.from_numpy(
                segment.visible()
            )
            positions[index, :size] = torch.from_numpy(segment.depths())
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
        self._positions = positions.to(device)
        self._masks: dict[int | None, torch.Tensor] = {}

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        if window not in self._masks:
            above = torch.arange(self._above, device=query.device).expand(self._count, -1)
            every = torch.cat([above, self._positions], dim=1)
            seen = within(self._seen, self._positions, every, window)
            groups = query.shape[1] // key.shape[1]
            self._masks[window] = additive(seen, groups, query.dtype)

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
            own(query), all_of(keys, key), all_of(values, value), self._masks[window], scaling
        )
        out: torch.Tensor = padded.flatten(0, 1)
        return out if self._whole else out.index_select(0, self._valid)
