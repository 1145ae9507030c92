"""Continual World's forward transfer, against runs on each environment alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from contrail.compare.gather import Row
from contrail.intervals import Array
from contrail.metrics import area_under_curve, continual_world_forward_transfer

REFERENCE = "isolated"
"""The strategy whose stages are the single-environment runs."""


def forward_transfer(
    rows: Sequence[Row], every_row: Sequence[Row], seeds: Sequence[int]
) -> Mapping[int, float] | None:
    """How much faster a strategy learnt its environments than runs on each of them alone did.

    The curves are those of `evaluate.every`: success on the test tasks during the first stage that
    is meant for an environment. An area is the mean over the orders of the stages.

    Args:
        rows: runs of one strategy.
        every_row: all runs of the comparison.
        seeds: those that have all runs.

    Returns:
        By seed (see `continual_world_forward_transfer`). None without curves or without a reference
        of the same seeds and orders, and where two environments have their first stage in common.
    """
    reference = [row for row in every_row if row.config["strategy"] == {"name": REFERENCE}]
    if not seeds or not rows or not reference or rows[0] in reference:
        return None
    own = _areas(rows, seeds)
    alone = _areas([row for row in reference if _matches(row, rows)], seeds)
    if own is None or alone is None or own.shape != alone.shape:
        return None
    values = continual_world_forward_transfer(own, alone)
    return None if values is None else dict(zip(seeds, values.tolist(), strict=True))


def _matches(reference: Row, rows: Sequence[Row]) -> bool:
    return any((row.seed, row.order) == (reference.seed, reference.order) for row in rows)


def _areas(rows: Sequence[Row], seeds: Sequence[int]) -> Array | None:
    """(seeds, environments), environments by name; None if one is missing."""
    table = []
    for seed in seeds:
        areas = [_of_run(row) for row in rows if row.seed == seed]
        if not areas or any(area is None or set(area) != set(areas[0] or ()) for area in areas):
            return None
        known = [area for area in areas if area is not None]
        table.append([float(np.mean([area[name] for area in known])) for name in sorted(known[0])])
    return np.array(table)


def _of_run(row: Row) -> dict[str, float] | None:
    """The area under the curve of each environment's first own stage."""
    first: dict[str, int] = {}
    for stage, names in enumerate(row.result["own"]):
        for name in names:
            first.setdefault(name, stage)
    if not first or len(set(first.values())) < len(first):
        return None
    areas = {}
    for name, stage in first.items():
        points = row.result["curves"][stage].get(name, [])
        area = area_under_curve([success for _, success in points], [at for at, _ in points])
        if area is None:
            return None
        areas[name] = area
    return areas
