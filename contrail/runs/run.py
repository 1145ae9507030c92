"""One run: its configuration, its directory, and what it has done so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from contrail.baselines import Baseline
from contrail.baselines.stream import Baselines
from contrail.config import RunConfig, to_yaml
from contrail.episode import Episode
from contrail.metrics.episode import averages, mean
from contrail.metrics.scores import Scores
from contrail.registry.observers import Observers
from contrail.registry.plugins import Plugins
from contrail.rollout.watchdog import Wait
from contrail.runs import provenance
from contrail.runs.begun import Begun
from contrail.runs.directory import RunDirectory
from contrail.runs.no_signal import Kind, kind_of
from contrail.runs.sources import Versions, merged
from contrail.training.objective import Objective

MOST_WAITS = 20  # that are kept


@dataclass
class Budget:
    """The cost of a run."""

    updates: int = 0
    """The number of training updates; the same for every strategy."""
    episodes: int = 0
    """The number of episodes that training updates learnt from; the same for every strategy."""
    faults: int = 0
    """The number of these episodes that were lost to a fault of their environment."""
    demonstrations: int = 0
    """The number of these episodes that the model did not play."""
    generated_tokens: int = 0
    """The number of tokens that the model wrote in these episodes."""
    extra_episodes: int = 0
    """The number of episodes that were played to choose tasks and not learnt from."""
    extra_tokens: int = 0
    """The number of tokens computed for a strategy's penalties and references."""
    cpu_seconds: float = 0.0
    """Processor seconds of the whole run."""
    wall_seconds: float = 0.0
    """Wall-clock seconds of the whole run."""


@dataclass
class Run:
    """A run, as plugins see it."""

    name: str
    config: RunConfig
    files: RunDirectory
    plugins: Plugins
    observers: Observers
    """Call the hooks of trackers."""
    environments: list[str]
    """The columns of R."""
    stages: list[str]
    """The names of the stages, in order."""
    meant: list[list[str]]
    """Per stage, the environments that it is meant to train on."""
    restarts: bool = False
    """Whether every stage begins with the base model: see `Strategy.restarts`."""
    own_loras: bool = False
    """Whether environments are evaluated with LoRAs of their own: see `Strategy.evaluating`."""
    dtype: str = "auto"
    """What the model computes in."""
    begun: Begun | None = None
    """What the policy before any training is of, if it is one of another run."""
    played: list[dict[str, int]] = field(default_factory=list)
    """Per stage, the number of episodes that its updates learnt from, by environment."""
    curves: list[dict[str, list[list[float | None]]]] = field(default_factory=list)
    """Per stage, by environment: [updates made, success] of the evaluations during the stage,
    including its ends."""
    curve_readings: list[dict[str, list[dict[str, Any]]]] = field(default_factory=list)
    """Likewise, for each of these evaluations `update`, and what `Scores.reading` has."""
    evaluations: list[dict[str, Scores]] = field(default_factory=list)
    """The rows of R: after each stage, the scores by environment."""
    made: list[int] = field(default_factory=list)
    """Per stage, the number of updates so far."""
    training: list[dict[str, list[list[float]]]] = field(default_factory=list)
    """Per stage, by environment: [updates made, success] of the episodes that the model played in
    the updates."""
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By environment with faults in training: the number of its `faults`, and the text of the
    `first`."""
    waits: list[Wait] = field(default_factory=list)
    """The longest waits for an environment, that were told while they lasted."""
    notes: list[str] = field(default_factory=list)
    """Notes about the model, such as the format it is used with if it has no chat template."""
    no_signal: list[dict[Kind, int]] = field(default_factory=list)
    """Per stage, the updates that taught nothing, by kind: see `contrail.runs.no_signal`."""
    baselines: Baselines = field(default_factory=dict)
    """By environment, the scores of players without a model."""
    budget: Budget = field(default_factory=Budget)
    source_files: Versions = field(default_factory=dict)
    """The versions of the users' code that the run was made with."""
    started: str = field(default_factory=provenance.now)
    """The date of the start, in UTC."""
    software: dict[str, Any] = field(default_factory=provenance.software)
    """The versions that the process has."""
    _cpu: float = field(default_factory=time.process_time)
    _wall: float = field(default_factory=time.monotonic)

    @property
    def directory(self) -> Path:
        """Where the run's files are."""
        return self.files.path

    @cached_property  # OmegaConf takes 30 ms to write it, and every checkpoint has it
    def config_text(self) -> str:
        """The resolved configuration as YAML."""
        return to_yaml(self.config)

    @property
    def update(self) -> int:
        """How many updates have been made since the start of the run."""
        return self.budget.updates

    @property
    def trained(self) -> list[list[str]]:
        """For each stage so far, the environments that its updates learnt from, as columns of R."""
        return [[name for name in self.environments if name in stage] for stage in self.played]

    @property
    def own(self) -> list[list[str]]:
        """The environments of `trained` that the stage is meant for; `replay`, for example, trains
        others."""
        stages = zip(self.trained, self.meant, strict=False)
        return [[name for name in trained if name in meant] for trained, meant in stages]

    @property
    def silent(self) -> int:
        """The number of updates of the present stage that taught nothing."""
        return sum(self.no_signal[-1].values())

    def begin_stage(self) -> None:
        """Begin to count the episodes of a stage."""
        self.played.append({})
        self.curves.append({})
        self.curve_readings.append({})
        self.made.append(0)
        self.no_signal.append({})
        self.training.append({})

    def count(self, episodes: Sequence[Episode], objective: Objective, signal: bool = True) -> None:
        """Count an update and the episodes that it learnt from by an objective.

        Args:
            episodes: of the update.
            objective: of the stage.
            signal: whether there was anything to learn from.
        """
        self.made[-1] += 1
        if not signal:
            kind = kind_of(episodes, objective)
            self.no_signal[-1][kind] = self.no_signal[-1].get(kind, 0) + 1
        self.budget.updates += 1
        self.budget.episodes += len(episodes)
        played_by_model = [item for item in episodes if not item.demonstrated]
        self.budget.demonstrations += len(episodes) - len(played_by_model)
        self.budget.generated_tokens += sum(item.generated_tokens for item in played_by_model)
        successes: dict[str, list[float]] = {}
        for item in played_by_model:
            if item.fault is None:
                successes.setdefault(item.environment, []).append(float(item.success))
        for name, values in successes.items():
            point = [self.made[-1], sum(values) / len(values)]
            self.training[-1].setdefault(name, []).append(point)
        played = self.played[-1]
        for episode in episodes:
            if episode.fault is None:
                played[episode.environment] = played.get(episode.environment, 0) + 1
            else:
                self.budget.faults += 1
                of = {"faults": 0, "first": episode.fault}
                self.faults.setdefault(episode.environment, of)["faults"] += 1

    def sound(self, environment: str) -> int:
        """Return the number of an environment's training episodes that were no faults."""
        return sum(stage.get(environment, 0) for stage in self.played)

    def waited(self, wait: Wait) -> None:
        """Keep a wait for an environment, if it is among the longest."""
        self.waits = sorted([*self.waits, wait], key=lambda item: -item.seconds)[:MOST_WAITS]

    def clock(self) -> None:
        """Add the time since the last call to the budget."""
        cpu, wall = time.process_time(), time.monotonic()
        self.budget.cpu_seconds += cpu - self._cpu
        self.budget.wall_seconds += wall - self._wall
        self._cpu, self._wall = cpu, wall

    def means(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Of the model's episodes of an update, the metrics of an episode that are defined.

        With penalties for malformed answers also what training has followed. `success/ENVIRONMENT`
        is the success in one environment.
        """
        played = [episode for episode in episodes if not episode.demonstrated]
        if not played:
            return {}
        means = averages(self.plugins.episode_metrics, played, by_task=False)
        for name in dict.fromkeys(episode.environment for episode in played):
            own = [episode for episode in played if episode.environment == name]
            means[f"success/{name}"] = mean([float(e.success) for e in own if e.fault is None])
        if self.config.answers.penalises:
            rewards = [item.training_reward for item in played if item.fault is None]
            means["training_reward"] = mean(rewards)
        return {name: mean for name, mean in means.items() if mean is not None}

    def state(self) -> dict[str, Any]:
        """Return the run's state for a checkpoint, as JSON values."""
        self.clock()
        return {
            "started": self.started,
            "dtype": self.dtype,
            "begun_from": self.begun and asdict(self.begun),
            "source_files": self.source_files,
            "budget": asdict(self.budget),
            "played": self.played,
            "curves": self.curves,
            "curve_readings": self.curve_readings,
            "made": self.made,
            "no_signal": self.no_signal,
            "training": self.training,
            "faults": self.faults,
            "waits": [asdict(wait) for wait in self.waits],
            "evaluations": [self.row_state(row) for row in range(len(self.evaluations))],
            "baselines": {
                label: {name: item and item.record() for name, item in players.items()}
                for label, players in self.baselines.items()
            },
        }

    def row_state(self, row: int) -> dict[str, Any]:
        """Return the scores of a row of R, as JSON values."""
        return {name: scores.record() for name, scores in self.evaluations[row].items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` kept."""
        self.started = state.get("started", self.started)
        now = {name: versions[-1] for name, versions in self.source_files.items()}
        self.source_files = merged(state.get("source_files", {}), now)
        self.budget = Budget(**state["budget"])
        self.played = state["played"]
        self.curves = state["curves"]
        self.curve_readings = state.get("curve_readings", [{} for _ in self.curves])
        self.made = state["made"]
        # An earlier version did not count them.
        self.no_signal = state.get("no_signal", [{} for _ in self.made])
        self.training = state.get("training", [{} for _ in self.made])
        self.faults = state.get("faults", {})
        self.waits = [Wait(**wait) for wait in state.get("waits", ())]
        self.evaluations = [
            {name: Scores.read(record) for name, record in row.items()}
            for row in state["evaluations"]
        ]
        if "baselines" in state:  # a comparison gives the base model's evaluation without them
            self.baselines |= {
                label: {name: item and Baseline(**item) for name, item in players.items()}
                for label, players in state["baselines"].items()
            }
