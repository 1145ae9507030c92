"""The course of a run in Weights & Biases: `trackers: [wandb]`.

WANDB_MODE=offline writes to RUN/wandb, without an account; `wandb sync` uploads it later.
WANDB_PROJECT is the project, by default contrail.
"""

from __future__ import annotations

import os
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
    """Begin a run of W&B, or go on with that of the interrupted run."""
    import wandb

    _close(run.directory)  # a run that was interrupted in this process, as in a notebook
    _runs[run.directory] = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "contrail"),
        name=run.name,
        id=identifier(run.directory, "wandb", lambda: uuid.uuid4().hex),
        resume="allow",
        reinit="create_new",
        dir=str(run.directory),
        config=config_of(run),
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
    _close(run.directory)


def _close(directory: Path) -> None:
    if directory in _runs:
        _runs.pop(directory).finish()
