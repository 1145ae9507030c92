"""Learning curves: the environments of a stage, evaluated while it trains on them."""

from __future__ import annotations

from contrail.runs.rollouts import Rollouts
from contrail.runs.run import Run
from contrail.stage import Stage
from contrail.stream import Scenario


def add_to_curves(
    run: Run, scenario: Scenario, rollouts: Rollouts, stage: Stage, update: int
) -> None:
    """Evaluate the stage's environments after `update` of its updates, if that is configured.

    The tasks and dice are those of R. The policy is the one in training, which a strategy may
    replace at the end of the stage.
    """
    every = run.config.evaluate.every
    if every is None or not stage.updates or (update % every and update != stage.updates):
        return
    for test in scenario.test:
        if test.name in stage.environments:
            curve = run.curves[-1].setdefault(test.name, [])
            if curve and curve[-1][0] == update:
                continue  # evaluated before the run was interrupted
            scores, _ = rollouts.evaluate(test, f"in {stage.name} after {update} updates")
            curve.append([update, scores.success])
