"""The rows of R: all environments, evaluated before any training and after each stage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from contrail.errors import ContrailError
from contrail.metrics.scores import Scores
from contrail.model.policy import Policy
from contrail.runs.checkpoints import Checkpoints
from contrail.runs.composition import Composition
from contrail.runs.directory import EpisodeLog
from contrail.runs.drift import Drift
from contrail.runs.rollouts import Rollouts
from contrail.runs.run import Run
from contrail.stage import Stage


class Rows:
    """Evaluates the policy as it is.

    Args:
        run: whose rows they are.
        tests: the test tasks of each environment.
        policy: in training.
        strategy: may evaluate each environment with another LoRA.
        rollouts: play the tasks.
        checkpoints: of the run.
        drift: measures it, if that is configured.
    """

    def __init__(
        self,
        run: Run,
        tests: Sequence[Stage],
        policy: Policy,
        strategy: Composition,
        rollouts: Rollouts,
        checkpoints: Checkpoints,
        drift: Drift | None = None,
    ) -> None:
        self._run = run
        self._tests = tests
        self._policy = policy
        self._strategy = strategy
        self._rollouts = rollouts
        self._checkpoints = checkpoints
        self._drift = drift

    def evaluate(self, number: int) -> None:
        """Add the row after stage `number`."""
        run = self._run
        scores = self._checkpoints.given_row() if number == 0 else None
        self.check_tasks()
        if scores is None:
            log = run.files.episodes(number, "evaluate")
            scores = self._columns(number, self._tests, log)
            run.evaluations.append(scores)
        run.observers.call("contrail_evaluated", run=run, stage=number, evaluations=scores)

    def check_tasks(self) -> None:
        """Refuse to go on with rows that were evaluated on other tasks.

        Raises:
            ContrailError: an environment has other test tasks than when the run began.
        """
        for test in self._tests:
            now = {task.id for tasks in test.tasks.values() for task in tasks}
            for row in self._run.evaluations:
                if test.name not in row or (then := row[test.name].scores.keys()) == now:
                    continue
                raise ContrailError(
                    f"{test.name!r} has other test tasks than when this run began: {len(then)} "
                    f"then and {len(now)} now, {len(then & now)} in common. Undo what has changed "
                    "them (its data, or its code), or choose another --out."
                )

    def remember(self, number: int, resumed: bool) -> None:
        """Keep the policies of row `number`, for the drift of the next one.

        Args:
            number: of the row before the stage that begins.
            resumed: whether the run goes on inside that stage; they are at its checkpoint then.
        """
        if self._drift is not None and number:
            with self._checkpoints.at_row(number) if resumed else nullcontext():
                self._drift.remember(self._tests)

    def complete(self) -> bool:
        """Evaluate environments that were added to the run, for the rows that lack them.

        Returns:
            Whether there were any; then the policy is not where it was.

        Raises:
            ContrailError: a checkpoint or a log of a row is damaged.
        """
        names = self._run.environments
        missing = self._checkpoints.missing(names)
        for row, scores in enumerate(self._run.evaluations):
            if list(scores) == names:
                continue
            log = self._run.files.episodes(row, "evaluate", size=None)
            if lacking := missing.get(row):
                log.arrange([name for name in names if name in scores])
                tests = [test for test in self._tests if test.name in lacking]
                if self._drift is not None and row > 1:
                    self._checkpoints.restore_row(row - 1)
                    self._drift.remember(tests)
                self._checkpoints.restore_row(row)
                scores |= self._columns(row, tests, log)
            log.arrange(names)
            if lacking:
                self._checkpoints.complete_row(row)
        return bool(missing)

    def _columns(self, number: int, tests: Sequence[Stage], log: EpisodeLog) -> dict[str, Scores]:
        scores = {}
        when = f"after {self._run.stages[number - 1]}" if number else "before training"
        # Strategies begin after the warm-up, stage 1, also where a row is evaluated later.
        idle = self._strategy.idle
        warm = self._run.config.warmup is not None
        self._strategy.idle = warm and number <= 1
        self._strategy.trigger("before_eval", is_training=False, current_eval_stream=tests)
        for test in tests:
            with self._strategy.evaluating(self._policy, test):
                found, episodes = self._rollouts.evaluate(test, when)
                if self._drift is not None and number > int(warm):  # later than the base
                    drift = self._drift.measure(number, test.name, episodes)
                    found = replace(found, drift=drift)
            scores[test.name] = found
            log.add(episodes)
        self._strategy.trigger("after_eval")
        self._strategy.idle = idle
        return scores
