"""No label of a stream tests on what another one trains on."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from scenarios import built

from contrail.errors import ConfigError
from contrail.leaks import split_seeds
from contrail.stream.scenario import Scenario

# Seeds as many a plugin has them: the first ones are for training, the next ones for testing.
PLUGIN = """
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    train_tasks: int = 10
    test_tasks: int = 10
    size: int = 5
    words: str = "Maze"
    constant: bool = False
    split: str = "half"
    other_seed: int = -1

class Maze(contrail.Environment):
    Config = Settings

    def tasks(self, split):
        train, test = self.config.train_tasks, self.config.test_tasks
        seeds = range(train) if split == "train" else range(train, train + test)
        if self.config.split == "other half":
            seeds = range(train, train + test) if split == "train" else range(train)
        return [contrail.Task("maze", f"maze-{n}", n, split, "odd" if n % 2 else "even")
                for n in seeds]

    def reset(self, task):
        seen = "Somewhere." if self.config.constant else f"{self.config.words} {task.seed}."
        seen += " It is dark." * (task.seed == self.config.other_seed)
        return contrail.Observation(seen, ["go"])

    def step(self, action):
        return contrail.Step(contrail.Observation("On.", ["go"]), terminated=True)

class Other(Maze):
    pass

@contrail.hookimpl
def contrail_environments(register):
    register("maze", Maze)
    register("same-maze", Maze)
    register("other", Other)
"""
MORE = "label: more, train_tasks: 30"


def stream(folder: Path, text: str) -> Scenario:
    (folder / "maze.py").write_text(PLUGIN)
    (folder / "stream.yaml").write_text(f"model: tiny-random\nplugins: [maze.py]\n{text}\n")
    with built(folder / "stream.yaml") as scenario:
        return scenario


def labels(one: str, other: str, train: str = "") -> str:
    return (
        f"stream:\n- {{environment: {{{one}}}{train}}}\nevaluate: {{environments: [{{{other}}}]}}"
    )


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        # The label that trains on more seeds trains on those that the other tests on.
        (labels(f"name: maze, {MORE}", "name: maze"), "maze-10"),
        (labels("name: maze, train_tasks: 20", "name: maze, label: b"), "maze-10"),
        (labels(f"name: same-maze, {MORE}", "name: maze"), "maze-10"),
        (
            f"stream: [{{environment: maze}}, {{environment: {{name: maze, {MORE}}}}}]",
            "maze-10",
        ),
        # Settings of another kind make another split of the same starts.
        (labels("name: maze, split: other half", "name: maze, label: b"), "maze-10"),
        # One start that differs does not hide the others.
        (labels(f"name: maze, {MORE}", "name: maze, other_seed: 10"), "maze-12"),
        # Of the training tasks only those that stages use count.
        (labels(f"name: maze, {MORE}", "name: maze", ", train: {difficulty: [odd]}"), "maze-11"),
    ],
)
def test_a_label_that_tests_on_what_another_trains_on_is_refused(
    tmp_path: Path, text: str, leak: str
) -> None:
    with pytest.raises(ConfigError) as error:
        stream(tmp_path, text)
    message = str(error.value)
    names = {"'maze'", "'more'", "'b'"} & set(message.replace(",", " ").split())
    assert len(names) == 2, message
    assert repr(leak) in message
    assert "Give both the same train_tasks and test_tasks, or use one label for both" in message
    assert "stream.yaml:" in message


@pytest.mark.parametrize(
    "text",
    [
        labels("name: maze, train_tasks: 30, label: more", "name: other"),
        labels("name: maze", "name: maze, label: b, test_tasks: 50"),
        labels("name: maze", "name: maze, label: b, train_tasks: 30"),  # b is not trained
        labels(f"name: maze, {MORE}", "name: maze", ", train: {tasks: 10}"),
        # Other settings are another game, unless its tasks start alike...
        labels(f"name: maze, {MORE}", "name: maze, words: Mountain"),
        # ...and one that always starts alike does not tell.
        labels(f"name: maze, {MORE}, constant: true, size: 9", "name: maze, constant: true"),
        # What ships splits in one way, whatever the numbers.
        labels(
            "name: babyai, levels: [GoToObj], train_tasks: 60",
            "name: babyai, label: b, levels: [GoToObj], train_tasks: 5, test_tasks: 20",
        ),
        labels(
            "name: babyai, levels: [GoToObj], train_tasks: 20",
            "name: babyai, label: b, levels: [GoToLocal], test_tasks: 20",
        ),
        labels("name: textcraft, depths: [1, 2]", "name: textcraft, label: b, seeds_per_goal: 2"),
        labels(
            "name: gymnasium, id: Taxi-v4, actions: [a, b, c, d, e, f], train_tasks: 100",
            "name: gymnasium, label: b, id: Taxi-v4, actions: [a, b, c, d, e, f], train_tasks: 10",
        ),
    ],
)
def test_other_streams_are_built(tmp_path: Path, text: str) -> None:
    assert len(stream(tmp_path, text).environments) == 2


@pytest.mark.parametrize(
    ("ours", "prefix", "numbers"),
    [
        ("name: textcraft", "textcraft", range(6)),
        ("name: babyai, levels: [GoToRedBallNoDists]", "babyai", range(2, 402, 40)),
    ],
)
def test_the_same_game_under_another_name_is_found(
    tmp_path: Path, ours: str, prefix: str, numbers: range
) -> None:
    (tmp_path / "ids.json").write_text(json.dumps([f"{prefix}_{n}" for n in numbers]))
    theirs = ours.partition(",")[0] + ", label: theirs, like: agentgym"
    assert len(stream(tmp_path, labels(ours, theirs)).environments) == 2
    with pytest.raises(ConfigError, match=r"'theirs' tests on the task 'agentgym-\d+', on which"):
        stream(tmp_path, labels(ours, f"{theirs}, test_ids: ids.json"))


@pytest.mark.skipif(find_spec("alfworld") is None, reason="needs 'contrail[alfworld]'")
def test_both_tests_of_alfworld_are_columns_of_one_stream(tmp_path: Path) -> None:
    text = labels(
        "name: alfworld, label: seen, data: generated, test_splits: [valid_seen]",
        "name: alfworld, label: unseen, data: generated",
    )
    scenario = stream(tmp_path, text)
    assert scenario.environments == ["seen", "unseen"]
    rooms = [
        {task.id.split("/")[2] for task in stage.tasks[label]}
        for stage in (*scenario.train, *scenario.test)
        for label in stage.tasks
    ]
    assert rooms[1] & rooms[0]
    assert not rooms[2] & rooms[0]


def test_seeds() -> None:
    assert split_seeds("train", 7) == [0, 1, 2, 3, 5, 6, 7]
    assert split_seeds("test", 3) == [4, 9, 14]
    assert not {*split_seeds("train", 5000)} & {*split_seeds("test", 5000)}
