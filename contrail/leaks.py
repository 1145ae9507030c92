"""How test tasks stay out of training: the split of seeds, and the labels of a stream."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import count, islice
from typing import Any

from contrail.environment import SPLITS, Environment, Observation, Task
from contrail.errors import ConfigError, nearest

TEST_EVERY = 5
SPLIT_BY = ("seed", "start")
BARREN = 100  # seeds in a row without a new start: there are no more
COUNTS = ("train_tasks", "test_tasks")
"""Settings that say how many tasks there are, and not which game is played."""
COMPARED = 4  # start states, where settings differ; evenly spaced

ROW_NAME = re.compile(r"(.*_)?(id|idx|index|uid|uuid|guid|hash)", re.IGNORECASE)
"""Columns of a dataset that number or name its rows."""
Row = Mapping[str, Any]

Reset = Callable[[str, Task], Observation | None]
"""Returns the start of a label's task; None if it has none."""
Game = Callable[[str, Task], str | None]
"""Returns `Environment.game` of a label's task."""


def split_seeds(split: str, number: int) -> list[int]:
    """Return the first `number` seeds of a split: one seed in five is for testing.

    The side of a seed does not depend on the number of tasks, so two labels of one environment
    never test on each other's training tasks.
    """
    tested = split == "test"
    seeds = (seed for seed in count() if (seed % TEST_EVERY == TEST_EVERY - 1) == tested)
    return list(islice(seeds, number))


def split_starts(split: str, number: int, start: Callable[[int], str]) -> list[int]:
    """Return the first `number` seeds whose starts belong to a split, each start once.

    The hash of a start decides its split, so no start is in both. With fewer starts, there are
    fewer seeds.

    Args:
        split: "train" or "test".
        number: the number of seeds.
        start: returns the start of a seed's game, which must be the whole start state.
    """
    found: dict[str, int] = {}
    barren = 0
    for seed in count():
        if len(found) >= number or barren >= BARREN:
            break
        text = start(seed)
        tested = int(hashlib.sha256(text.encode()).hexdigest(), 16) % TEST_EVERY == 0
        barren += 1
        if text not in found and tested == (split == "test"):
            found[text] = seed
            barren = 0
    return list(found.values())


def split_rows(
    rows: Sequence[Row], test_rows: Sequence[Row] = (), used: Container[str] = ()
) -> tuple[dict[str, dict[int, Row]], int]:
    """Divide the rows of a dataset; rows of one content are in one split, once.

    What only names a row (`id`, `index`, `question_id`) is no content, unless an environment takes
    it, or rows differ in nothing else.

    Args:
        rows: to train on, and to test on if there are no others.
        test_rows: to test on; without them, every fifth content of `rows` is.
        used: the columns that the environment takes by name.

    Returns:
        The rows of each split by their numbers, and how many are left out.
    """
    every = [*test_rows, *rows]
    names = {name for row in every for name in row if ROW_NAME.fullmatch(name) and name not in used}
    contents = [repr([(key, row[key]) for key in sorted(row) if key not in names]) for row in every]
    if len(set(contents)) == 1:
        contents = [repr(sorted(row.items(), key=lambda item: item[0])) for row in every]
    found: dict[str, dict[int, Row]] = {split: {} for split in SPLITS}
    seen: set[str] = set()
    for place, (row, content) in enumerate(zip(every, contents, strict=True)):
        if content in seen:
            continue
        tested = place < len(test_rows)
        if not test_rows:
            tested = len(seen) % TEST_EVERY == TEST_EVERY - 1
        seen.add(content)
        number = place if tested or not test_rows else place - len(test_rows)
        found["test" if tested else "train"][number] = row
    return found, len(every) - len(seen)


def seed_tasks(environment: Environment, name: str, split: str) -> list[Task]:
    """Return the tasks of an environment whose tasks are seeds.

    Args:
        environment: its settings have `train_tasks`, `test_tasks` and `split_by`: "seed", by
            `split_seeds`, or "start", by `split_starts`.
        name: what it is registered as.
        split: "train" or "test".

    Raises:
        ConfigError: the split or `split_by` is unknown, or there is no start for the split.
    """
    config = environment.config
    if split not in SPLITS:
        raise ConfigError(f"{name} has no split {split!r}. {nearest(split, SPLITS)}")
    if config.split_by not in SPLIT_BY:
        known = nearest(config.split_by, SPLIT_BY)
        raise ConfigError(f"{name}: split_by is {config.split_by!r}. {known}")
    number = config.train_tasks if split == "train" else config.test_tasks
    if config.split_by == "seed":
        seeds = split_seeds(split, number)
    else:
        other = type(environment)(config)  # in the given one an episode may be under way
        try:
            seeds = split_starts(
                split, number, lambda seed: repr(other.reset(Task(name, "", seed, split)))
            )
        finally:
            other.close()
    if not seeds:
        raise ConfigError(
            f"{name}: split_by is 'start', and {BARREN} seeds have no start for the split "
            f"{split!r}: they start alike. Use split_by: seed."
        )
    return [Task(name, f"seed-{seed}", seed, split) for seed in seeds]


@dataclasses.dataclass(frozen=True)
class Column:
    """A label of a stream: the class and the settings of its environment, and its tasks.

    `trained` are the tasks that the stages train on, `tested` all that can be tested on.
    """

    label: str
    cls: type
    settings: Any
    trained: Sequence[Task]
    tested: Sequence[Task]


def shared_start(
    columns: Sequence[Column], reset: Reset, game: Game
) -> tuple[Column, Column, Task] | None:
    """Find a start state that one label tests on and another trains on.

    Two labels of one class have a start state in common if they have a task of one id and seed, and
    the same settings but for `COUNTS`. Where other settings differ, the environment's `game` tells.
    If it does not, the same id may be another game: then most tasks must start alike, and not all
    as each other.

    Args:
        columns: all labels of the stream.
        reset: begins a task.
        game: names what a task plays.

    Returns:
        The label that tests, the one that trains, and the task; None if there is none.
    """
    for trains in columns:
        trained = {(task.id, task.seed): task for task in trains.trained}
        for tests in columns:
            if tests.label == trains.label or tests.cls is not trains.cls:
                continue
            same = _game(tests.settings) == _game(trains.settings)
            if not same and (named := _named(tests, trains, game)) is not None:
                if named:
                    return tests, trains, named[0]
                continue
            pairs = [
                (task, trained[task.id, task.seed])
                for task in tests.tested
                if (task.id, task.seed) in trained
            ]
            if not pairs:
                continue
            if same:
                return tests, trains, pairs[0][0]
            if (task := _alike(tests, trains, pairs, reset)) is not None:
                return tests, trains, task
    return None


def advice(tests: Column, trains: Column, task: Task) -> str:
    """Return the advice for a start state that two labels share."""
    counts = [key for key in COUNTS if key in _settings(tests.settings)]
    same = f"the same {' and '.join(counts)}" if counts else "settings with the same split"
    return (
        f"{tests.label!r} tests on the task {task.id!r}, on which {trains.label!r} trains: both "
        f"are the same game, and split its tasks differently. Give both {same}, or use one label "
        "for both. If the environment is yours, let nothing in its settings move a task from one "
        "split to the other (for seeds: contrail.leaks.split_seeds)."
    )


def _settings(settings: Any) -> Mapping[str, Any]:
    return vars(settings) if dataclasses.is_dataclass(settings) else {}


def _game(settings: Any) -> dict[str, Any]:
    return {key: value for key, value in _settings(settings).items() if key not in COUNTS}


def _named(tests: Column, trains: Column, game: Game) -> list[Task] | None:
    """Return the tested tasks whose game is trained on; None if the environment names no games."""
    trained: set[str] = set()
    for task in trains.trained:
        if (name := game(trains.label, task)) is None:
            return None
        trained.add(name)
    return [task for task in tests.tested if game(tests.label, task) in trained]


def _alike(
    tests: Column, trains: Column, pairs: Sequence[tuple[Task, Task]], reset: Reset
) -> Task | None:
    """Return a task that starts alike in two labels, if most do where starts tell tasks apart."""
    count = min(COMPARED, len(pairs))
    chosen = [pairs[number * len(pairs) // count] for number in range(count)]
    starts = [reset(tests.label, task) for task, _ in chosen]
    both = {task for task, _ in pairs}
    other = next((task for task in tests.tested if task not in both), None)
    seen = {repr(start) for start in starts}
    if other is not None:
        seen.add(repr(reset(tests.label, other)))
    alike = [
        task
        for start, (task, trained) in zip(starts, chosen, strict=True)
        if start is not None and start == reset(trains.label, trained)
    ]
    return alike[0] if len(seen) > 1 and 2 * len(alike) > count else None
