"""Which test tasks are played: the same for a policy and for the baselines beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contrail.environment import Task
from contrail.seeding import generator

# The test tasks are the same for every run, whatever its seed: scores are compared task by task.
TEST_SEED = 0


def untested(train: Iterable[Task], test: Iterable[Task]) -> list[str | int]:
    """Return the difficulties of training tasks that no test task has."""
    tested = {task.difficulty for task in test}
    found = {task.difficulty for task in train if task.difficulty is not None} - tested
    return sorted((item for item in found if item is not None), key=str)


def test_tasks(tasks: Sequence[Task], count: int) -> list[Task]:
    """Return the tasks that are evaluated: a fixed draw of `count`, in their own order."""
    if len(tasks) <= count:
        return list(tasks)
    chosen = generator(TEST_SEED, "test tasks").permutation(len(tasks))[:count]
    return [tasks[index] for index in sorted(chosen)]
