"""The worst environment: its interval holds the least of the true scores."""

from __future__ import annotations

import numpy as np
import pytest

from contrail.metrics import transfer


@pytest.mark.parametrize("chances", [(0.5, 0.5, 0.5), (0.5, 0.6, 0.7), (0.45, *[0.5] * 5)])
def test_the_interval_of_the_worst_environment_holds_the_least_true_score(
    chances: tuple[float, ...],
) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        scores = {
            str(j): (rng.random((2, 64)) < chance).astype(float) for j, chance in enumerate(chances)
        }
        found = transfer.METRICS["worst_environment"](transfer.TaskScores(scores, [["0"]], [["0"]]))
        assert found.interval is not None
        assert found.value is not None
        assert found.interval[0] <= found.value <= found.interval[1]
        held += found.interval[0] <= min(chances) <= found.interval[1]
    assert held >= 0.94 * 400
