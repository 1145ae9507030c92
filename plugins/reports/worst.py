"""Why the metric `worst_environment` can be above the average score."""

from __future__ import annotations

from collections.abc import Mapping

WORST, AVERAGE = "worst_environment", "average_score"


def above_average(metrics: Mapping[str, float | None], whose: str = "") -> str | None:
    """Return a note where the worst environment is above the average score."""
    worst, average = metrics.get(WORST), metrics.get(AVERAGE)
    if worst is None or average is None or worst <= average:
        return None
    return (
        f"Worst environment{whose} is above average score: it is chosen on one half of the test "
        "tasks and measured on the other, since the least of noisy scores would be too low."
    )
