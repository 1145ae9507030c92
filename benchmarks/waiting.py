"""Whole training steps of examples/six.yaml: the share in which they wait for environments."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

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
class Clock:
    """Seconds by environment: of training steps, and of those in which the run waited for it."""

    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _waited: float = 0.0
    _begun: float = 0.0
    _stage: str = ""

    def begin(self, stage: str) -> None:
        """A stage begins, and with it its first step."""
        self._stage, self._begun, self._waited = stage, time.perf_counter(), 0.0

    def end_step(self) -> None:
        """A step ends, and the next one begins."""
        self.steps[self._stage].append(time.perf_counter() - self._begun)
        self.waiting[self._stage].append(self._waited)
        self.begin(self._stage)

    def waited(self, answer: Callable[[], Any]) -> Callable[[], Any]:
        """Return what gets an environment's answer and counts how long that takes."""

        def counted() -> Any:
            begun = time.perf_counter()
            try:
                return answer()
            finally:
                self._waited += time.perf_counter() - begun

        return counted

    def share(self, *stages: str) -> float:
        """Return the share of the steps of these stages in which the run waited."""
        waiting = sum(sum(self.waiting[stage]) for stage in stages)
        return waiting / sum(sum(self.steps[stage]) for stage in stages)


@contextmanager
def watching() -> Iterator[tuple[Clock, ModuleType]]:
    """Yield a clock, and a plugin that tells it where the run is."""
    clock = Clock()
    plugin = ModuleType("waiting_clock")

    @contrail.hookimpl
    def contrail_stage_start(stage: Any) -> None:
        clock.begin(stage.name)

    @contrail.hookimpl
    def contrail_update() -> None:
        clock.end_step()

    vars(plugin).update(contrail_stage_start=contrail_stage_start, contrail_update=contrail_update)
    answered = _Player._answered

    def watched(player: _Player, item: Play, answer: Callable[[], Any]) -> None:
        answered(player, item, clock.waited(answer))

    with mock.patch.object(_Player, "_answered", watched):
        yield clock, plugin


def run(settings: Settings) -> Report:
    """Train on each environment in turn, `rounds` updates each."""
    report = Report("waiting", settings)
    stream = yaml.safe_load(STREAM.read_text())
    if settings.quick:
        stream["stream"] = [
            stage
            for stage in stream["stream"]
            if stage["environment"]["name"] in QUICK_ENVIRONMENTS
        ]
        del stream["lora"]
    for stage in stream["stream"]:
        stage["updates"] = settings.rounds
    stream |= {
        "model": settings.model,
        "evaluate": {"tasks": 1},
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
    for name, seconds in clock.steps.items():
        each = f"{sum(seconds) / len(seconds):.2f} s a step, {clock.share(name):.1%} waiting"
        report.counts[name] = each
    meaning = "share of all training steps in which the run waited for environments"
    report.aim("waiting", clock.share(*clock.steps), "<=", HIGHEST_SHARE, meaning)
    return report
