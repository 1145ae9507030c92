"""One run: its configuration, its directory, and what it has done so far."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from contrail.baselines import Baseline
from contrail.baselines.stream import Baselines
from contrail.config import RunConfig, to_yaml
from contrail.evaluation import Evaluation
from contrail.manager import Plugins
from contrail.metrics import METRICS, bootstrap, change, summary
from contrail.rundir import RunDirectory
from contrail.seeding import generator
from contrail.stream import TEST_SEED


@dataclass
class Budget:
    """What a run has cost.

    Training updates and episodes, and tokens the model wrote in them: the same for every strategy.
    `faults`: of these episodes, those that were lost to a fault of their environment.
    `extra_episodes`: played to choose tasks by, not learnt from. `extra_tokens`: computed for a
    strategy's penalties and references. Seconds of everything.
    """

    updates: int = 0
    episodes: int = 0
    faults: int = 0
    generated_tokens: int = 0
    extra_episodes: int = 0
    extra_tokens: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass
class Run:
    """What plugins are told about.

    `trained[i]` and `stages[i]`: environments and name of stage i + 1. `restarts`: see
    `Strategy.restarts`. `evaluations[i]`: after stage i, by environment. `baselines`: what players
    without a model reach.
    """

    name: str
    config: RunConfig
    files: RunDirectory
    plugins: Plugins
    environments: list[str]
    stages: list[str]
    trained: list[list[str]]
    restarts: bool = False
    evaluations: list[dict[str, Evaluation]] = field(default_factory=list)
    baselines: Baselines = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    _cpu: float = field(default_factory=time.process_time)
    _wall: float = field(default_factory=time.monotonic)

    @property
    def directory(self) -> Path:
        """Where the run's files are."""
        return self.files.path

    @property
    def config_text(self) -> str:
        """The resolved configuration as YAML."""
        return to_yaml(self.config)

    @property
    def update(self) -> int:
        """How many updates have been made since the start of the run."""
        return self.budget.updates

    def clock(self) -> None:
        """Add the time since the last call to the budget."""
        cpu, wall = time.process_time(), time.monotonic()
        self.budget.cpu_seconds += cpu - self._cpu
        self.budget.wall_seconds += wall - self._wall
        self._cpu, self._wall = cpu, wall

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, as JSON values."""
        self.clock()
        return {
            "budget": asdict(self.budget),
            "evaluations": [
                {name: item.record() for name, item in row.items()} for row in self.evaluations
            ],
            "baselines": {
                label: {name: item and item.record() for name, item in players.items()}
                for label, players in self.baselines.items()
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` kept."""
        self.budget = Budget(**state["budget"])
        self.evaluations = [
            {name: Evaluation(**record) for name, record in row.items()}
            for row in state["evaluations"]
        ]
        if "baselines" in state:  # a comparison gives the base model's evaluation without them
            self.baselines = {
                label: {name: item and Baseline(**item) for name, item in players.items()}
                for label, players in state["baselines"].items()
            }

    def result(self) -> dict[str, Any]:
        """The content of result.json."""
        R = [[row[name].success for name in self.environments] for row in self.evaluations]
        columns = {name: index for index, name in enumerate(self.environments)}
        trained = [[columns[name] for name in stage] for stage in self.trained]
        # Where a task has no score at some stage it is nan there, and left out there alone.
        scores = {
            name: [
                [float("nan") if score is None else score for score in row[name].scores.values()]
                for row in self.evaluations
            ]
            for name in self.environments
        }
        metrics = summary(R, trained)
        intervals = bootstrap(scores, trained, generator(TEST_SEED, "bootstrap"))
        return {
            "name": self.name,
            "model": self.config.model,
            "adapter": self.config.adapter.name,
            "strategy": self.config.strategy.name,
            "seed": self.config.seed,
            "environments": self.environments,
            "stages": self.stages,
            "trained": self.trained,
            "R": R,
            "interval": intervals.R,
            "change": {"value": change(R), "interval": intervals.change},
            "restarts": self.restarts,
            # Of an agent that goes from stage to stage, which there is none where it restarts.
            "metrics": dict.fromkeys(metrics) if self.restarts else metrics,
            "metric_intervals": dict.fromkeys(metrics) if self.restarts else intervals.metrics,
            "formulas": {name: metric.formula for name, metric in METRICS.items()},
            "evaluations": [
                {name: item.summary() for name, item in row.items()} for row in self.evaluations
            ],
            "baselines": {
                label: {name: item and item.summary() for name, item in players.items()}
                for label, players in self.baselines.items()
            },
            "budget": asdict(self.budget),
        }
