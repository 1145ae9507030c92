"""The baselines of a run: of its environments, on its test tasks, through its adapters."""

from __future__ import annotations

from collections.abc import Container

from contrail.baselines import EXPERT, RANDOM, SAMPLES, Baseline, Subject, baselines
from contrail.config import RunConfig
from contrail.progress.reporter import Reporter
from contrail.registry.plugins import Plugins
from contrail.rollout.watchdog import OnWait
from contrail.stream.listing import maker
from contrail.stream.scenario import Scenario

IN_A_RUN = (RANDOM, EXPERT)

Baselines = dict[str, dict[str, Baseline | None]]
"""By environment (the name of its column in R) and player."""


def of_run(
    config: RunConfig,
    scenario: Scenario,
    plugins: Plugins,
    reporter: Reporter,
    on_wait: OnWait,
    known: Container[str] = (),
) -> Baselines:
    """Play random and the expert on the test tasks of each environment of a run.

    Args:
        config: the run's configuration.
        scenario: made from it.
        plugins: the loaded plugins.
        reporter: shows the progress.
        on_wait: called while an environment takes long.
        known: labels of environments to leave out.
    """
    found: Baselines = {}
    makers = {item.label: maker(item, plugins) for item in config.environments}
    for test in scenario.test:
        label = test.name
        if label in known:
            continue
        tasks = test.tasks[label]
        subject = Subject(
            label,
            makers[label],
            test.adapters[label],
            tasks,
            end_after_invalid=config.answers.end_after_invalid,
        )
        most = len(tasks) * (SAMPLES + 1)  # the expert plays each task once
        reporter.start("baseline", f"baselines of {label}", most)
        found[label] = baselines(
            subject, scenario.pool, IN_A_RUN, progress=reporter.advance, on_wait=on_wait
        )
        shown = [
            f"{name} –" if item is None or item.success is None else f"{name} {item.success:.2f}"
            for name, item in found[label].items()
        ]
        reporter.done(", ".join(shown))
    return found
