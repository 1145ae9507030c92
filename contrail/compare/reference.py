"""Continual World's forward transfer, against runs on each environment alone."""

from __future__ import annotations

from collections.abc import Sequence

from contrail.compare.gather import Row
from contrail.metrics import Score, area_under_curve, continual_world_forward_transfer

REFERENCE = "isolated"
"""The strategy whose stages are the single-environment runs."""


def forward_transfer(row: Row, rows: Sequence[Row]) -> Score:
    """How much faster a run learnt its environments than runs on each of them alone did.

    The curves are the success of training, update by update, in the first stage on an environment
    (arXiv:2105.10919 takes evaluations during training, which would cost as much again).

    Returns:
        The mean over the environments trained on; None without a reference of the same seed and
        order, and where two environments have their first stage in common.
    """
    alone = next(
        (
            other
            for other in rows
            if other.config["strategy"] == {"name": REFERENCE}
            and (other.seed, other.order) == (row.seed, row.order)
        ),
        None,
    )
    if alone is None or alone is row:
        return None
    own, reference = _first_stages(row), _first_stages(alone)
    if len(set(own.values())) < len(own) or set(own) != set(reference):
        return None
    areas = [
        [area_under_curve(run.curve(stages[name], name)) for name in own]
        for run, stages in ((row, own), (alone, reference))
    ]
    return continual_world_forward_transfer(*areas)[1]


def _first_stages(row: Row) -> dict[str, int]:
    first: dict[str, int] = {}
    for stage, names in enumerate(row.result["trained"], start=1):
        for name in names:
            first.setdefault(name, stage)
    return first
