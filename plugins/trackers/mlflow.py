"""The course of a run in MLflow: `trackers: [mlflow]`.

MLFLOW_TRACKING_URI is the store or the server; by default MLflow's own local store. The experiment
is called contrail.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contrail
from contrail.plugins.trackers.points import identifier, points

if TYPE_CHECKING:
    from contrail import Run, Scores

EXPERIMENT = "contrail"
LIMIT = 1000  # metrics of a request

_runs: dict[Path, tuple[Any, str]] = {}
"""The open runs, by run directory: the client and the run's id."""


@contrail.hookimpl
def contrail_run_start(run: Run) -> None:
    """Begin a run of MLflow, or go on with that of the interrupted run."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = client.create_experiment(EXPERIMENT) if found is None else found.experiment_id

    def begin() -> str:
        begun = client.create_run(experiment, run_name=run.name)
        client.set_tag(begun.info.run_id, "contrail.directory", str(run.directory))
        client.set_tag(begun.info.run_id, "contrail.config", run.config_text[:5000])
        return str(begun.info.run_id)

    number = identifier(run.directory, "mlflow", begin)
    client.update_run(number, status="RUNNING")
    _runs[run.directory] = client, number


@contrail.hookimpl
def contrail_update(run: Run, scalars: dict[str, float]) -> None:
    """`train/<name>`, at the update."""
    _log(run, {f"train/{name}": value for name, value in scalars.items()})


@contrail.hookimpl
def contrail_evaluated(run: Run, stage: int, evaluations: dict[str, Scores]) -> None:
    """`evaluate/<environment>/<metric>`, at the update after which it was measured."""
    _log(run, points(evaluations))


@contrail.hookimpl
def contrail_run_end(run: Run) -> None:
    """Close the run."""
    client, number = _runs.pop(run.directory)
    client.set_terminated(number)


def _log(run: Run, values: dict[str, float]) -> None:
    """Log values in requests that MLflow takes, under names that it takes."""
    from mlflow.entities import Metric

    client, number = _runs[run.directory]
    now = int(time.time() * 1000)
    metrics = [
        Metric(re.sub(r"[^\w\-. /]", "_", name), value, now, run.update)
        for name, value in values.items()
    ]
    for start in range(0, len(metrics), LIMIT):
        client.log_batch(number, metrics=metrics[start : start + LIMIT])
