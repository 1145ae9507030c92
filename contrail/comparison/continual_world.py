"""Continual World's measures: areas under learning curves, and forward transfer made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contrail.intervals import Array, Score


def area_under_curve(curve: Sequence[Score], steps: Sequence[float]) -> Score:
    """Mean success over a stage of training: (1/D) * integral of p(t) (arXiv:2105.10919).

    Args:
        curve: (points,) success on the environment being trained on.
        steps: (points,) the updates made when they were measured, rising. Points are joined by
            straight lines.

    Raises:
        ValueError: the two are not of one length, or steps do not rise.
    """
    success, at = (np.array(values, dtype=np.float64) for values in (curve, steps))
    if at.shape != success.shape or np.any(np.diff(at) <= 0):
        raise ValueError("Give one step for each point of the curve, in increasing order.")
    if at.size < 2 or np.isnan(success).any():
        return None
    return float(np.trapezoid(success, at) / (at[-1] - at[0]))


def continual_world_forward_transfer(own: Array, alone: Array) -> Array | None:
    """mean_j (AUC_j - AUC_ref,j) / (1 - AUC_ref,j), as one value per seed (arXiv:2105.10919).

    AUC_j and AUC_ref,j are means over seeds: a mean of the seeds' ratios would be ruled by seeds
    whose reference is near 1. The seeds' values are the linearisation of that ratio of means, so
    their mean is the metric, and their scatter gives its interval.

    Args:
        own: (seeds, environments) areas under the curve in the stream; no nan.
        alone: the same of runs on each environment alone.

    Returns:
        (seeds,); None where a reference leaves no room, being within two standard errors of 1.
    """
    reached, reference = own.mean(axis=0), alone.mean(axis=0)
    room = 1 - reference
    error = alone.std(axis=0, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.zeros_like(room)
    if np.any(room <= 2 * error + 1e-9):
        return None
    change = (own - reached) / room - (alone - reference) * (1 - reached) / room**2
    values: Array = ((reached - reference) / room + change).mean(axis=1)
    return values
