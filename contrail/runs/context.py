"""What a strategy gets at the beginning and at the end of a stage."""

from __future__ import annotations

from collections.abc import Sequence

from contrail.environment import Task
from contrail.episode import Episode
from contrail.runs.prepared import Prepared
from contrail.runs.rollouts import Rollouts
from contrail.runs.run import Run
from contrail.strategy import StageContext


def stage_context(run: Run, made: Prepared, rollouts: Rollouts, number: int) -> StageContext:
    """Return the context of the stage with this number.

    A warm-up is not counted: strategies number the stages of the stream from 1.
    """
    stage = made.stages[number - 1]

    def play(tasks: Sequence[Task], samples: int, name: str) -> list[list[Episode]]:
        groups = rollouts.train(stage, number, tasks, samples, name)
        run.budget.extra_episodes += sum(map(len, groups))
        return groups

    own = number - made.stages[0].warmup
    return StageContext(stage, own, made.policy, made.learner, run.config.seed, play)
