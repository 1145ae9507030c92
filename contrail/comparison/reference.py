"""Continual World's forward transfer, against runs on each environment alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contrail.comparison.continual_world import (
    area_under_curve,
    continual_world_forward_transfer,
)
from contrail.comparison.gather import Row
from contrail.intervals import Array

REFERENCE = "isolated"
"""The strategy whose stages are the single-environment runs."""


def forward_transfer(
    rows: Sequence[Row], every_row: Sequence[Row], seeds: Sequence[int]
) -> Mapping[int, float] | None:
    """Return how much faster a strategy learnt its environments than runs on each environment
    alone.

    The curves are those of `evaluate.every`: success on the test tasks during the first stage that
    is meant for an environment. An area is the mean over the orders of the stages.

    Args:
        rows: runs of one strategy.
        every_row: all runs of the comparison.
        seeds: the seeds for which all runs exist.

    Returns:
        By seed (see `continual_world_forward_transfer`). None without curves, without a reference
        of the same settings, seeds and orders, or if two environments have their first stage in
        common.
    """
    if not seeds or not rows:
        return None
    settings = [_settings(row) for row in rows]
    reference = [
        row
        for row in every_row
        if row.config["strategy"] == {"name": REFERENCE} and _settings(row) in settings
    ]
    if not reference or rows[0] in reference:
        return None
    own, alone = _areas(rows, seeds), _areas(reference, seeds)
    if own is None or alone is None or own[:2] != alone[:2]:
        return None
    values = continual_world_forward_transfer(own[2], alone[2])
    return None if values is None else dict(zip(seeds, values.tolist(), strict=True))


def _settings(row: Row) -> dict[str, Any]:
    """Return what two runs have in common that differ in their strategies alone."""
    return {key: value for key, value in row.config.items() if key not in ("strategy", "name")}


def _areas(
    rows: Sequence[Row], seeds: Sequence[int]
) -> tuple[list[str], list[set[tuple[str, ...]]], Array] | None:
    """Environments, the orders that each seed has, and the areas (seeds, environments).

    None where an area is missing, or runs have other environments.
    """
    orders: list[set[tuple[str, ...]]] = []
    names: set[tuple[str, ...]] = set()
    table = []
    for seed in seeds:
        own = [row for row in rows if row.seed == seed]
        areas = [area for area in map(_of_run, own) if area is not None]
        names.update(tuple(sorted(area)) for area in areas)
        if not own or len(areas) < len(own) or len(names) > 1:
            return None
        orders.append({row.order for row in own})
        table.append([float(np.mean([area[name] for area in areas])) for name in sorted(areas[0])])
    return list(next(iter(names))), orders, np.array(table)


def _of_run(row: Row) -> dict[str, float] | None:
    """Return the area under the curve of each environment's first own stage."""
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
