"""The hooks, in the order of a run. A plugin implements those it needs with `contrail.hookimpl`.

Hooks that register things are part of a run: if one raises, the command ends with an error that
names the plugin. So it does if an environment, an adapter, a strategy or an objective raises where
a run cannot go on without it. Hooks of OBSERVERS watch: what they raise is told, and the run goes
on (`contrail.registry.observers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    import typer

    from contrail.adapter import Adapter
    from contrail.environment import Environment
    from contrail.episode import Episode
    from contrail.metrics.episode import EpisodeMetric
    from contrail.metrics.failures import FailureRule
    from contrail.metrics.scores import Scores
    from contrail.model.policy import ModelSource
    from contrail.stage import Stage
    from contrail.strategy import Strategy
    from contrail.training.objective import Objective

hookspec = pluggy.HookspecMarker("contrail")
hookimpl = pluggy.HookimplMarker("contrail")

REPORTS = frozenset(("contrail_report", "contrail_comparison", "contrail_study"))
"""The hooks of reports, which `contrail report` calls again."""
OBSERVERS = REPORTS | {
    "contrail_run_start",
    "contrail_stage_start",
    "contrail_episodes",
    "contrail_update",
    "contrail_evaluated",
    "contrail_stage_end",
    "contrail_run_end",
}
"""The hooks of trackers and reports, which may fail without harm."""


class Run(Protocol):
    """The members of a run that hooks may read."""

    name: str
    """The name of the run's directory."""
    environments: list[str]
    """The columns of R."""
    stages: list[str]
    """The names of the stages, in order."""
    evaluations: list[dict[str, Scores]]
    """The rows of R so far: the scores of each environment."""

    @property
    def directory(self) -> Path:
        """The run's directory."""

    @property
    def config_text(self) -> str:
        """The resolved configuration, as YAML."""

    @property
    def update(self) -> int:
        """The number of updates since the start of the run."""

    def result(self) -> dict[str, Any]:
        """Return the content of result.json."""


@hookspec
def contrail_environments(register: Callable[[str, type[Environment]], None]) -> None:
    """Register environments: `register(name, environment_class)`."""


@hookspec
def contrail_adapters(register: Callable[[str, type[Adapter]], None]) -> None:
    """Register adapters: `register(name, adapter_class)`."""


@hookspec
def contrail_strategies(register: Callable[[str, type[Strategy]], None]) -> None:
    """Register continual strategies: `register(name, strategy_class)`."""


@hookspec
def contrail_objectives(register: Callable[[str, type[Objective]], None]) -> None:
    """Register what a stage can learn by: `register(name, objective_class)`."""


@hookspec
def contrail_models(register: Callable[[str, ModelSource], None]) -> None:
    """Register models by name: `register(name, source)`; a source returns a model's directory."""


@hookspec
def contrail_metrics(register: Callable[[EpisodeMetric], None]) -> None:
    """Register metrics of an episode: `register(contrail.EpisodeMetric(name, function, ...))`."""


@hookspec
def contrail_failures(register: Callable[[FailureRule], None]) -> None:
    """Register failure modes: `register(contrail.FailureRule(name, function, ...))`."""


@hookspec
def contrail_commands(cli: typer.Typer) -> None:
    """Add commands to the `contrail` command line."""


@hookspec
def contrail_run_start(run: Run) -> None:
    """A run starts, or goes on after it was interrupted."""


@hookspec
def contrail_stage_start(run: Run, stage: Stage) -> None:
    """A stage is about to be trained on."""


@hookspec
def contrail_episodes(run: Run, episodes: Sequence[Episode]) -> None:
    """Training episodes have been played and not yet been learnt from."""


@hookspec
def contrail_update(run: Run, scalars: dict[str, float]) -> None:
    """The policy has been updated; `run.update` counts from the start of the run."""


@hookspec
def contrail_evaluated(run: Run, stage: int, evaluations: dict[str, Scores]) -> None:
    """All environments have been evaluated after stage `stage` (0: before any training)."""


@hookspec
def contrail_stage_end(run: Run, stage: Stage) -> None:
    """A stage has been trained on, evaluated and saved."""


@hookspec
def contrail_run_end(run: Run) -> None:
    """All stages are done and the result is on disk."""


@hookspec
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Show or write a report of `result` (the content of result.json) into the run directory."""


@hookspec
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Show or write a report of `comparison` (the content of compare.json) into its directory."""


@hookspec
def contrail_study(study: dict[str, Any], directory: str) -> None:
    """Show or write a report of `study` (the content of EXPERIMENT.json) into its directory."""
