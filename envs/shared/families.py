"""Groups of things that must be on one side of a split, because they share something."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def families(items: Sequence[T], keys: Callable[[T], Iterable[Hashable]]) -> list[list[T]]:
    """Divide items into families: two that share a key are of one family, directly or by others.

    Args:
        items: in any order, which families and their members keep.
        keys: of an item.
    """
    from scipy.cluster.hierarchy import DisjointSet  # inside: listing plugins does not need it

    places = DisjointSet(range(len(items)))
    first: dict[Hashable, int] = {}
    for place, item in enumerate(items):
        for key in keys(item):
            places.merge(first.setdefault(key, place), place)
    members: dict[int, list[T]] = {}
    for place, item in enumerate(items):
        members.setdefault(places[place], []).append(item)
    return list(members.values())
