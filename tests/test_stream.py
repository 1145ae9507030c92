"""From the configuration to stages: which tasks each stage trains on, and which are tested."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy
import pytest
from scenarios import built

from contrail.environment import Task
from contrail.errors import ContrailError, PluginError
from contrail.plugins.adapters.choose import Choose
from contrail.plugins.adapters.react import React
from contrail.stage import Stage
from contrail.stream.scenario import Scenario
from contrail.tasks.selection import test_tasks

# pytest would take it for a test.
draw_test_tasks = test_tasks
del test_tasks

PLUGIN = """
from dataclasses import dataclass
import contrail

@dataclass
class Settings:
    size: int = 10
    extra: str = ""

class World(contrail.Environment):
    Config = Settings
    made = closed = 0

    def __init__(self, config=None):
        super().__init__(config)
        World.made += 1
        if self.config.extra:
            raise {error}

    def tasks(self, split):
        levels = ["easy", "hard"]
        return [
            contrail.Task("anything", f"{{split}}-{{i}}", i, split, levels[i % 2])
            for i in range(self.config.size)
        ]

    def reset(self, task):
        return contrail.Observation("Here you are.", ["stay"])

    def step(self, action):
        raise NotImplementedError

    def close(self):
        World.closed += 1

@contrail.hookimpl
def contrail_environments(register):
    register("world", World)
"""

Build = Callable[..., Scenario]


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Build]:
    """What a stream file is built into."""
    stack = ExitStack()

    def make(text: str, error: str = "ValueError('no extra')") -> Scenario:
        (tmp_path / "world.py").write_text(PLUGIN.format(error=error))
        (tmp_path / "stream.yaml").write_text(f"plugins: [world.py]\n{text}\n")
        return stack.enter_context(built(tmp_path / "stream.yaml"))

    with stack:
        yield make


def ids(stage: Stage) -> list[str]:
    return [task.id for tasks in stage.tasks.values() for task in tasks]


def test_a_stage_trains_on_training_tasks(scenario: Build) -> None:
    (stage,) = scenario("stream: [world]").train
    assert ids(stage) == [f"train-{i}" for i in range(10)]
    assert {task.split for task in stage.tasks["world"]} == {"train"}
    assert (stage.name, stage.updates, stage.environments) == ("world", 40, ["world"])


def test_stages_keep_their_order(scenario: Build) -> None:
    built = scenario(
        "stream:\n- world\n- {environment: textcraft, updates: 3, name: craft}\n- world"
    )
    assert [stage.name for stage in built.train] == ["world", "craft", "world"]
    assert [stage.updates for stage in built.train] == [40, 3, 40]
    assert built.environments == ["world", "textcraft"]  # a column each, however often trained on


def test_unseen_environments_are_evaluated_last(scenario: Build) -> None:
    built = scenario("stream: [world]\nevaluate: {environments: [textcraft, world]}")
    assert built.environments == ["world", "textcraft"]
    assert [stage.name for stage in built.train] == ["world"]


def test_a_label_is_a_column_of_its_own(scenario: Build) -> None:
    built = scenario(
        "stream: [world]\nevaluate: {environments: [{name: world, label: large, size: 20}]}"
    )
    assert built.environments == ["world", "large"]
    # A task belongs to its column, whatever the environment calls itself.
    assert {task.environment for task in built.train[0].tasks["world"]} == {"world"}
    assert {task.environment for task in built.test[1].tasks["large"]} == {"large"}


def test_the_tasks_of_a_difficulty(scenario: Build) -> None:
    built = scenario(
        "stream:\n"
        "- {environment: world, train: {difficulty: hard}}\n"
        "- {environment: world, train: {difficulty: [easy, hard], tasks: 3}}"
    )
    assert ids(built.train[0]) == [f"train-{i}" for i in (1, 3, 5, 7, 9)]
    assert ids(built.train[1]) == ["train-0", "train-1", "train-2"]
    # The test tasks are those of the whole environment, at every stage.
    assert ids(built.test[0]) == [f"test-{i}" for i in range(10)]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "{environment: textcraft, train: {difficulty: 7}}",
            "stream.0.train.difficulty: ",
        ),
        ("{environment: textcraft, uptades: 7}", "stream.0.uptades: unknown key"),
        (
            "{environment: {name: textcraft, depths: [9]}}",
            "stream.0.environment: textcraft: ",
        ),
    ],
)
def test_a_mistake_is_answered_before_torch_is_imported(
    tmp_path: Path, written: str, says: str
) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(f"model: tiny-random\nstream:\n- {written}\n")
    code = (
        "import sys; from pathlib import Path; from contrail.runs.launch import run_stream\n"
        "try: run_stream(Path(sys.argv[1]), out=Path(sys.argv[2]))\n"
        "except Exception as error: print(error)\n"
        "print([name for name in ('torch', 'transformers', 'trl', 'peft') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, imported = done.stdout.splitlines()
    assert message.startswith(f"{path}:3: {says}")
    assert imported == "[]"
    assert not (tmp_path / "run").exists()


def test_an_unknown_difficulty(scenario: Build) -> None:
    with pytest.raises(ContrailError, match=r"stream.0.train.difficulty.*'world'.*'hrd'.*'hard'"):
        scenario("stream: [{environment: world, train: {difficulty: hrd}}]")


def test_max_turns_overrides_the_environments_own(scenario: Build) -> None:
    built = scenario(
        "stream: [{environment: {name: world, max_turns: 3}}]\n"
        "evaluate: {environments: [{name: world, label: other}]}"
    )
    assert built.pool.take("world").max_turns == 3
    assert built.pool.take("other").max_turns == 20


def test_the_adapter_of_a_stage_also_evaluates_its_environment(scenario: Build) -> None:
    built = scenario(
        "stream: [{environment: world, adapter: react}, textcraft]\n"
        "evaluate: {environments: [{name: world, label: other}]}"
    )
    adapters = {stage.name: stage.adapters[stage.name] for stage in built.test}
    assert isinstance(built.train[0].adapters["world"], React)
    assert isinstance(adapters["world"], React)
    assert isinstance(adapters["textcraft"], Choose)
    assert isinstance(adapters["other"], Choose)


def test_instances_are_used_again_and_closed(scenario: Build) -> None:
    pool = scenario("stream: [world, world]").pool
    first = pool.take("world")
    assert type(first).made == 1  # listing and trying the tasks took the same one
    assert pool.take("world") is not first
    pool.give("world", first)
    assert pool.take("world") is first
    pool.close()
    assert type(first).closed == type(first).made == 2


def test_an_environment_that_cannot_be_made(scenario: Build) -> None:
    message = r"environment 'world' \(plugin 'world'\): cannot be made: ValueError: no extra"
    with pytest.raises(PluginError, match=message):
        scenario("stream: [{environment: {name: world, extra: x}}]")


def test_a_missing_package_says_what_to_install(scenario: Build) -> None:
    message = r"needs a package that is not installed: .*alfworld.*pip install 'contrail\[world\]'"
    with pytest.raises(PluginError, match=message):
        scenario(
            "stream: [{environment: {name: world, extra: x}}]", "ImportError('no module alfworld')"
        )


def test_test_tasks_are_a_fixed_draw_in_their_own_order() -> None:
    tasks = [Task("world", str(number), number, "test") for number in range(100)]
    drawn = draw_test_tasks(tasks, 10)
    assert drawn == draw_test_tasks(tasks, 10)
    assert len(set(drawn)) == 10
    assert [task.seed for task in drawn] == sorted(task.seed for task in drawn)
    assert drawn != tasks[:10]
    assert draw_test_tasks(tasks, 100) == draw_test_tasks(tasks, 1000) == tasks


def test_test_tasks_do_not_depend_on_the_seed(scenario: Build) -> None:
    text = "stream: [world]\nevaluate: {tasks: 4}\nseed: "
    assert ids(scenario(text + "0").test[0]) == ids(scenario(text + "1").test[0])


def test_samples_are_distinct_where_there_are_enough() -> None:
    tasks = [Task("world", str(number), number, "train") for number in range(10)]
    stage = Stage("world", {"world": tasks}, {"world": Choose()})
    rng = numpy.random.default_rng(0)
    assert len(set(stage.sample(10, rng))) == 10
    assert len(stage.sample(25, rng)) == 25
    drawn = [stage.sample(4, numpy.random.default_rng(1)) for _ in range(2)]
    assert drawn[0] == drawn[1]
