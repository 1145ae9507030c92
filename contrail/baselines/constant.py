"""The search for the best constant action, on training tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy

from contrail.adapter import Adapter
from contrail.baselines.baseline import SECONDS, Progress, games
from contrail.baselines.play import Outcome, play_games
from contrail.baselines.players import Constant, Random
from contrail.environment import Task
from contrail.rollout.watchdog import OnWait
from contrail.seeding import generator
from contrail.tasks.selection import TEST_SEED, test_tasks
from contrail.workers.pool import EnvironmentPool

EXPLORED = 64  # training tasks on which random play finds out what is listed
ROUNDS = ((40, 32), (10, 128), (3, 512))  # (actions that are left, training tasks each plays)
LEAST = 4  # actions and tasks of a round, where time is short


def best_constant(
    pool: EnvironmentPool,
    label: str,
    tasks: Sequence[Task],
    adapter: Adapter,
    *,
    end_after_invalid: int | None = None,
    seconds: float = SECONDS,
    progress: Progress = lambda: None,
    on_wait: OnWait | None = None,
) -> Constant | None:
    """Return the action that, chosen whenever it is listed, solves most of the training tasks.

    An action can only help in tasks that list it, so the most frequently listed actions are tried
    first: 40 actions on 32 tasks, the best 10 on 128 more tasks, the best 3 on 512 more. All are
    tried on the same tasks with the same dice. If the environment is too slow for this, fewer
    actions are tried on fewer tasks.

    Args:
        pool: has the environment under the label.
        label: the environment's column in R.
        tasks: training tasks.
        adapter: the adapter through which the player acts.
        end_after_invalid: the number of invalid turns in a row after which an episode ends.
        seconds: the approximate time for the search.
        progress: called after each episode.
        on_wait: called while the environment takes long.

    Returns:
        None if no actions are listed, or if `seconds` are too few to compare any.
    """

    def played(
        plan: Sequence[tuple[Task, int]], player: Random | Constant, purpose: str
    ) -> list[Outcome]:
        made = games(label, plan, adapter, player, purpose, end_after_invalid)
        return play_games(pool, made, progress, on_wait)

    begun = time.monotonic()
    outcomes: list[Outcome] = []
    explored = test_tasks(tasks, EXPLORED)
    for place in range(0, len(explored), LEAST):  # in parts: a slow environment gets no further
        if time.monotonic() - begun > seconds / 4:
            break
        plan = [(task, 0) for task in explored[place : place + LEAST]]
        outcomes += played(plan, Random(), "explore")
    episode = max((time.monotonic() - begun) / max(1, len(outcomes)), 1e-9)
    listing = Counter(action for outcome in outcomes for action in outcome.listed)
    left = sorted(listing, key=lambda action: (-listing[action], action))
    wanted = sum(min(len(left), actions) * count for actions, count in ROUNDS)
    scale = min(1.0, seconds * 0.75 / (max(1, wanted) * episode)) ** 0.5
    if not left or min(len(left), ROUNDS[0][0]) * scale < min(len(left), LEAST):
        return None
    order = generator(TEST_SEED, "search", label).permutation(len(tasks))
    solved: dict[str, list[float]] = {action: [] for action in left}
    begin = 0
    for actions, count in ROUNDS:
        left = left[: actions if scale == 1 else max(LEAST, int(actions * scale))]
        end = begin + max(LEAST, int(count * scale))
        # Where all tasks have been played they are played again, as another sample.
        plan = [(tasks[order[k % len(tasks)]], k // len(tasks)) for k in range(begin, end)]
        for action in left:
            found = played(plan, Constant(action), "search")
            solved[action] += [
                float(item.success)
                for item in found
                if item.fault is None and item.undefined is None
            ]
        left.sort(key=lambda action: -float(numpy.mean(solved[action] or [0.0])))
        begin = end
    return Constant(left[0])
