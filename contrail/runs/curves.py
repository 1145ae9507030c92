"""Learning curves: all environments of a run, evaluated while a stage is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from contrail.model.policy import Policy
from contrail.runs.composition import Composition
from contrail.runs.rollouts import Rollouts
from contrail.runs.run import Run
from contrail.stage import Stage


class Curves:
    """Evaluates the policy within stages, if that is configured (`evaluate.every`).

    The tasks and dice are those of R. A stage's own environments are played by the policy in
    training, which a strategy may replace at the end of the stage; the others by the policy that a
    strategy chooses for their evaluation, or by none if what the stage trains is no part of the
    agent yet (`Strategy.branches`).

    Args:
        run: whose curves they are.
        tests: the test tasks of each environment.
        policy: in training.
        strategy: may evaluate each environment with another LoRA.
        rollouts: play the tasks.
    """

    def __init__(
        self,
        run: Run,
        tests: Sequence[Stage],
        policy: Policy,
        strategy: Composition,
        rollouts: Rollouts,
    ) -> None:
        self._run = run
        self._tests = tests
        self._policy = policy
        self._strategy = strategy
        self._rollouts = rollouts

    def add(self, stage: Stage, update: int) -> None:
        """Evaluate all environments after `update` updates of a stage, if it is time."""
        every = self._run.config.evaluate.every
        if every is None or not stage.updates or (update % every and update != stage.updates):
            return
        whole = stage.warmup or not self._strategy.branches
        for test in self._tests:
            own = test.name in stage.environments
            if not own and not whole:
                continue
            curve = self._run.curves[-1].setdefault(test.name, [])
            if curve and curve[-1][0] == update:
                continue  # evaluated before the run was interrupted
            playing = nullcontext() if own else self._strategy.playing(self._policy, test.name)
            with playing:
                when = f"in {stage.name} after {update} updates"
                scores, _ = self._rollouts.evaluate(test, when)
            curve.append([update, scores.success])
            self._run.curve_readings[-1].setdefault(test.name, []).append(
                {"update": update, **scores.reading()}
            )
