"""Whole training steps of examples/six.yaml: the share in which they wait for environments."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import psutil
import yaml

import contrail
from benchmarks.measure import Timings, timed
from benchmarks.report import Report
from benchmarks.workload import Settings
from contrail.rollout.job import Play
from contrail.rollout.play import _Player

STREAM = Path(__file__).parents[1] / "examples" / "six.yaml"
DEFAULTS: dict[str, Any] = {"rounds": 3, "group": 4, "tasks": 2}
QUICK_ENVIRONMENTS = ("babyai", "alfworld")  # one in this process, one in worker processes
HIGHEST_SHARE = 0.1


@dataclass
class Spent:
    """Seconds of training steps, and the part of them that is the environments'.

    By the clock that part is the time for which the run waits. Of CPU seconds it is all that the
    environments took, in worker processes while the model went on as well.
    """

    wall: float = 0.0
    waiting: float = 0.0
    cpu: float = 0.0
    environments: float = 0.0

    def add(self, other: Spent) -> None:
        """Add the seconds of another step."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Clock:
    """Measures the training steps of a run, by stage."""

    stages: dict[str, list[Spent]] = field(default_factory=lambda: defaultdict(list))
    _step: Spent = field(default_factory=Spent)
    _begun: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """A step begins."""
        self._step, self._begun = Spent(), _now()

    def end_step(self, stage: str) -> None:
        """A step ends, and the next one begins."""
        wall, own, workers = (now - then for now, then in zip(_now(), self._begun, strict=True))
        step = self._step
        step.wall, step.cpu, step.environments = wall, own + workers, step.environments + workers
        self.stages[stage].append(step)
        self.begin()

    def waited(self, answer: Callable[[], Any]) -> Callable[[], Any]:
        """Return what gets an environment's answer, and counts how long that takes."""

        def counted() -> Any:
            wall, own, _ = _now(workers=False)
            try:
                return answer()
            finally:
                until, busy, _ = _now(workers=False)
                self._step.waiting += until - wall
                self._step.environments += busy - own

        return counted


def _now(workers: bool = True) -> tuple[float, float, float]:
    """Return the time, and the CPU seconds so far of this process and of its worker processes."""
    total = 0.0
    for child in psutil.Process().children(recursive=True) if workers else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return time.perf_counter(), time.process_time(), total


@contextlib.contextmanager
def watching() -> Iterator[tuple[Clock, ModuleType]]:
    """Yield a clock, and a plugin that tells it where the run is."""
    clock, stages = Clock(), list[str]()
    plugin = ModuleType("waiting_clock")

    @contrail.hookimpl
    def contrail_stage_start(stage: Any) -> None:
        stages.append(stage.name)
        clock.begin()

    @contrail.hookimpl
    def contrail_update() -> None:
        clock.end_step(stages[-1])

    vars(plugin).update(contrail_stage_start=contrail_stage_start, contrail_update=contrail_update)
    answered = _Player._answered

    def watched(player: _Player, item: Play, answer: Callable[[], Any]) -> None:
        answered(player, item, clock.waited(answer))

    with mock.patch.object(_Player, "_answered", watched):
        yield clock, plugin


def run(settings: Settings) -> Report:
    """Train on each environment in turn, `rounds` updates each.

    The worker processes have been started by then, to evaluate.
    """
    report = Report("waiting", settings)
    stream = yaml.safe_load(STREAM.read_text())
    if settings.quick:
        stream["stream"] = [
            stage
            for stage in stream["stream"]
            if stage["environment"]["name"] in QUICK_ENVIRONMENTS
        ]
        stream["evaluate"] = {"tasks": 1}
    if settings.model != stream["model"]:
        del stream["lora"]  # names layers of that model
    for stage in stream["stream"]:
        stage["updates"] = settings.rounds
    stream |= {
        "model": settings.model,
        "grpo": {
            "num_generations": settings.group,
            "generation_batch_size": settings.episodes,
        },
    }
    timings = report.timings["run"] = Timings()
    with tempfile.TemporaryDirectory() as scratch, watching() as (clock, plugin):

        def train() -> None:
            contrail.run(stream, plugins=[plugin], out=Path(scratch) / "run", quiet=True)

        timed(train, timings, settings.device)
    total = Spent()
    for name, steps in clock.stages.items():
        spent = Spent()
        for step in steps:
            spent.add(step)
        total.add(spent)
        report.counts[name] = (
            f"{spent.wall / len(steps):.2f} s a step, {spent.waiting / spent.wall:.1%} of them "
            f"waiting; {spent.cpu / len(steps):.2f} CPU s, {spent.environments / spent.cpu:.1%} "
            "of them the environment's"
        )
    meaning = "share of training steps in which the run waited for environments"
    report.aim("waiting", total.waiting / total.wall, "<=", HIGHEST_SHARE, meaning)
    meaning = "share of environments in the CPU seconds of training steps"
    report.aim("cpu", total.environments / total.cpu, "<=", HIGHEST_SHARE, meaning)
    return report
