"""What trackers have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contrail import Run, Scores


def points(evaluations: dict[str, Scores]) -> dict[str, float]:
    """Return the numbers of an evaluation that are defined: `evaluate/<environment>/<metric>`."""
    found: dict[str, float] = {}
    for environment, scores in evaluations.items():
        shown = {"success": scores.success, **scores.metrics}
        shown |= {
            f"success_by_difficulty/{difficulty}": item["success"]
            for difficulty, item in scores.by_difficulty.items()
        }
        found |= {
            f"evaluate/{environment}/{name}": value
            for name, value in shown.items()
            if value is not None
        }
    return found


def config_of(run: Run) -> dict[str, Any]:
    """Return the run's configuration as plain values."""
    import yaml

    config: dict[str, Any] = yaml.safe_load(run.config_text)
    return config


def identifier(directory: Path, tracker: str, new: Callable[[], str]) -> str:
    """Return the name that a tracker knows the run by: that of the interrupted run, or a new one.

    It is kept in the run's directory, so that a new run in its place is another one.
    """
    file = directory / f".{tracker}-run"  # W&B would take .wandb for its directory
    if not file.is_file():
        file.write_text(new())
    return file.read_text()
