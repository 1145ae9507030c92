import numpy as np

from contrail.metrics.task_scores import TaskScores


def scores(tasks: dict[str, list[str]], registered: dict[str, str] | None = None) -> TaskScores:
    rows = {name: np.zeros((1, len(ids))) for name, ids in tasks.items()}
    return TaskScores(rows, [], [], tasks=tasks, registered=registered or {})


def test_a_group_is_joined_through_others() -> None:
    """`a` and `c` share nothing, but each of them shares tasks with `b`."""
    found = scores({"a": ["1", "2"], "c": ["3", "4"], "b": ["2", "3"], "d": ["5"]})

    assert {name: found.group(name) for name in found.scores} == {
        "a": "a",
        "b": "a",
        "c": "a",
        "d": "d",
    }


def test_equal_ids_in_environments_of_two_names_are_two_tasks() -> None:
    """Environments with numbered seeds call their tasks alike and share none."""
    tasks = {"rooms": ["seed-4"], "doors": ["seed-4"], "words": ["seed-4"]}
    found = scores(tasks, {"rooms": "babyai", "doors": "babyai", "words": "textworld"})

    assert [found.group(name) for name in tasks] == ["rooms", "rooms", "words"]


def test_equal_ids_are_one_task_where_the_names_are_not_known() -> None:
    found = scores({"rooms": ["seed-4"], "words": ["seed-4"]})

    assert found.group("words") == "rooms"


def test_names_are_read_from_the_result() -> None:
    cell = {"scores": {"seed-4": 1.0}, "outcomes": {}}
    result = {
        "environments": ["rooms", "words"],
        "registered": {"rooms": "babyai", "words": "textworld"},
        "evaluations": [{"rooms": cell, "words": cell}],
        "trained": [],
        "own": [],
    }

    assert TaskScores.read(result).group("words") == "words"
