"""The course of a run in trackio: `trackers: [trackio]`, then `trackio show`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.plugins.trackers.points import config_of, identifier, points

if TYPE_CHECKING:
    from contrail import Run, Scores

_runs: dict[Path, Any] = {}
"""The open runs, by run directory."""


@contrail.hookimpl
def contrail_run_start(run: Run) -> None:
    """Begin a run of trackio, or go on with that of the interrupted run."""
    import trackio

    number = identifier(run.directory, "trackio", lambda: uuid.uuid4().hex[:8])
    _runs[run.directory] = trackio.init(
        "contrail", name=f"{run.name}-{number}", resume="allow", config=config_of(run)
    )


@contrail.hookimpl
def contrail_update(run: Run, scalars: dict[str, float]) -> None:
    """`train/<name>`, at the update."""
    values = {f"train/{name}": value for name, value in scalars.items()}
    _runs[run.directory].log(values, step=run.update)


@contrail.hookimpl
def contrail_evaluated(run: Run, stage: int, evaluations: dict[str, Scores]) -> None:
    """`evaluate/<environment>/<metric>`, at the update after which it was measured."""
    _runs[run.directory].log(points(evaluations), step=run.update)


@contrail.hookimpl
def contrail_run_end(run: Run) -> None:
    """Close the run."""
    _runs.pop(run.directory).finish()
