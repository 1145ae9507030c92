"""Memory that is taken as it is written: rows of keys or values, with room to grow."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch


def lazy(device: torch.device) -> bool:
    """Return whether pages that nobody wrote take no memory: on a CPU, under Linux and macOS."""
    return device.type == "cpu" and hasattr(mmap, "MADV_DONTNEED")


class Memory:
    """Zeros (rows, positions, heads, width) that grow, in one piece.

    Positions that are not written yet are read and masked, so they must be finite: nan * 0 is nan.

    Attributes:
        data: the tensor; `grow` replaces it.

    Args:
        like: (n, heads, width), of the same dtype and on the same device.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self.data = like.new_empty((0, 0, *like.shape[1:]))
        self._pages: mmap.mmap | None = None

    def grow(self, positions: int, ends: Sequence[int]) -> None:
        """Grow to len(ends) rows of `positions`, keeping the first ends[i] positions of row i."""
        old = self.data
        rows = len(ends)
        if rows <= old.shape[0] and positions <= old.shape[1]:
            return
        self._make((rows, positions, *old.shape[2:]))
        if not lazy(old.device):  # a copy of all is one kernel, and memory is taken either way
            self.data[: old.shape[0], : old.shape[1]] = old
            return
        for row, end in enumerate(ends[: old.shape[0]]):
            self.data[row, :end] = old[row, :end]

    def clear(self, row: int) -> None:
        """Free the memory of a row, if possible."""
        if self._pages is None:
            return
        size = self.data[0].nbytes
        first = -(-row * size // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (row + 1) * size // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._pages.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _make(self, shape: tuple[int, ...]) -> None:
        like = self.data
        if not lazy(like.device):
            self.data = like.new_zeros(shape)
            return
        size = torch.Size(shape).numel() * like.element_size()
        self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            self._pages.madvise(mmap.MADV_NOHUGEPAGE)  # huge pages would be written as a whole
        self.data = torch.frombuffer(self._pages, dtype=like.dtype).view(shape)
