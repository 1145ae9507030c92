"""A slow environment: its worker processes, and one instance stepped for each episode in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.measure import Timings, alternate, ratio, timed
from benchmarks.models import make_policy
from benchmarks.report import Report
from benchmarks.slow import Slow, SlowConfig
from benchmarks.workload import Settings, jobs_of
from contrail.plugins.adapters.choose import Choose
from contrail.registry.registered import Registered
from contrail.rollout.play import play
from contrail.workers.factory import EnvironmentFactory
from contrail.workers.pool import EnvironmentPool

# A tiny model, so that the time is the environment's.
DEFAULTS: dict[str, Any] = {"model": "tiny-random", "tasks": 4, "group": 8, "rounds": 3}
STEP = 0.2  # seconds
QUICK_STEP = 0.02


def run(settings: Settings) -> Report:
    """Return all episodes at once, each environment in a process; and one episode after another."""
    report = Report("environments", settings)
    policy = make_policy(settings)
    config = SlowConfig(settings.turns, QUICK_STEP if settings.quick else STEP)
    here = EnvironmentFactory("slow", Registered(Slow, "benchmarks"), config)
    apart = replace(here, workers=settings.episodes)
    tasks = here.here().tasks("train")[: settings.tasks]
    jobs = jobs_of("slow", tasks, settings.group, lambda task, sample: Choose())
    workers, single = EnvironmentPool({"slow": apart}), EnvironmentPool({"slow": here})

    def contrail_plays() -> int:
        return sum(len(episode.turns) for episode in play(policy, workers, jobs()))

    def one_after_another() -> int:
        return sum(len(play(policy, single, [job])[0].turns) for job in jobs())

    try:
        first = Timings()
        timed(contrail_plays, first, settings.device)
        report.timings, results = alternate(
            {"contrail": contrail_plays, "one_after_another": one_after_another},
            settings.rounds,
            settings.device,
        )
    finally:
        workers.close()
        single.close()
    wall = {name: item.wall for name, item in report.timings.items()}
    meaning = "how many times faster, by the wall clock, than one after another"
    value = ratio(wall["one_after_another"], wall["contrail"])
    report.aim("one_after_another", value, ">=", 10, meaning)
    meaning = "the same for the first rollout of a run, which starts the processes"
    value = min(wall["one_after_another"]) / first.wall[0]
    report.aim("with_start", value, ">=", 1, meaning)
    report.timings["contrail_first"] = first
    missing = abs(results["contrail"] - results["one_after_another"])
    report.check("steps", missing, 0)
    report.counts |= {"steps": results["contrail"], "seconds_a_step": config.seconds}
    return report
