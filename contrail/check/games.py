"""Check of the games: tasks differ, and test tasks are not training tasks.

Two tasks are distinguished by their starts; if these are equal, by the results of the same actions;
and if those are equal too, by the expert's actions.
"""

from __future__ import annotations

from collections import Counter

from contrail.check.subject import Failed, Subject, Warned
from contrail.environment import Task
from contrail.tasks.selection import untested

COMPARED = 50  # tasks of each split
ENOUGH = 6  # tasks alike by which to say that all are
TURNS = 24  # of a play that is compared


def splits(subject: Subject) -> str:
    """Tasks differ, and none of one split is the same game as one of the other."""
    seen = {(task.id, task.seed) for task in subject.listed["train"]}
    shared = [task for task in subject.listed["test"] if (task.id, task.seed) in seen]
    if shared:
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        raise Failed(f"{shared[0].id!r}{more} stands in both: {ADVICE}")
    games = _games(subject)
    tasks = [task for game in games for task in game]
    if len(games) == 1 and len(tasks) > 1:
        if not _is_known(subject):
            return f"{len(tasks)} tasks show no difference; it lists no actions to tell them by"
        if len(tasks) < min(ENOUGH, sum(map(len, subject.listed.values()))):
            return f"{len(tasks)} tasks show no difference; in more time more would be compared"
        raise Failed(
            f"all {len(tasks)} tasks compared are one game: they start alike, the same actions "
            "bring the same, and the expert, if any, does the same. What is tested would have been "
            "trained on. Let reset(task) make the game of task.seed; where there is but one game, "
            "choose another environment."
        )
    _divided(games)
    found = [[task for task in game if task.split == "test"] for game in games if _mixed(game)]
    notes = [f"{len(games)} of {len(tasks)} tasks differ"]
    if found:
        one, other = _pair(next(filter(_mixed, games)))
        notes.append(
            f"{sum(map(len, found))} of the tested could not be told from ones trained on, such as "
            f"{other.id!r} from {one.id!r}"
        )
    return "; ".join(notes)


def difficulties(subject: Subject) -> str:
    """Every difficulty of training tasks is tested too."""
    if lacking := untested(*(subject.listed[split] for split in ("train", "test"))):
        listed = ", ".join(map(repr, lacking))
        raise Warned(
            f"no test task has the difficulty {listed}, which training tasks have: what is learnt "
            "on these is never seen. Divide the tasks so that both splits have all difficulties."
        )
    known = {task.difficulty for task in subject.listed["test"]} - {None}
    return ", ".join(sorted(map(str, known))) or "tasks have none"


ADVICE = (
    "what is tested would have been trained on. Divide the start states, for example by a hash."
)


def _games(subject: Subject) -> list[list[Task]]:
    """Return groups of tasks that nothing distinguishes."""
    environment = subject.used
    turns = min(TURNS, environment.max_turns)

    def start(task: Task) -> object:
        if task in subject.tasks:
            return subject.walks[subject.tasks.index(task)][0]
        return subject.reset(environment, task)

    def play(task: Task) -> object:
        return list(subject.walk(environment, task, key="", turns=turns))

    def plan(task: Task) -> object:
        return subject.expert_plan(subject.used, task)

    # Tasks played already come first: they cost no reset.
    tasks = (*subject.tasks, *subject.sample(COMPARED))
    looks: dict[Task, tuple[str, ...]] = dict.fromkeys(tasks, ())
    for look in (start, play, plan):
        alike = Counter(looks.values())
        unclear = [task for task, seen in looks.items() if alike[seen] > 1]
        now = {task: repr(look(task)) for task in subject.in_time(unclear)}
        looks = {
            task: (*seen, now.get(task, ""))
            for task, seen in looks.items()
            if task in now or alike[seen] == 1  # the others were left out, for want of time
        }
    games: dict[tuple[str, ...], list[Task]] = {}
    for task, seen in looks.items():
        games.setdefault(seen, []).append(task)
    return list(games.values())


def _is_known(subject: Subject) -> bool:
    """Return whether sensible actions are known: random words would not distinguish any games."""
    return any(walk[0].actions for walk in subject.walks) or any(
        subject.expert_plan(subject.used, task) for task in subject.tasks
    )


def _divided(games: list[list[Task]]) -> None:
    """Refuse splits that share games other than by chance.

    A small world has few games, and then some come twice, within a split as often as in both. Two
    splits made of the same games show in pairs: one task of each, and seldom two of the same.
    """
    pairs = [game for game in games if len(game) == 2]
    across = [_pair(game) for game in pairs if _mixed(game)]
    within = len(pairs) - len(across)
    seeds = Counter(task.seed for game in games for task in game)
    meant = [one for one, other in across if one.seed == other.seed and seeds[one.seed] == 2]
    if (len(meant) > 1 and 2 * len(meant) > len(across)) or len(across) > 4 * (within + 1):
        one, other = across[0]
        raise Failed(
            f"{other.id!r} is the same game as {one.id!r} under another name, and there are "
            f"{len(across) - 1} more such pairs: {ADVICE}"
        )


def _mixed(game: list[Task]) -> bool:
    return len({task.split for task in game}) > 1


def _pair(game: list[Task]) -> tuple[Task, Task]:
    """A task for training and one for testing that are the same game."""
    train = next(task for task in game if task.split == "train")
    return train, next(task for task in game if task.split == "test")
