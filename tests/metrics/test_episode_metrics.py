"""Metrics of an episode: the registry, the means, and every place in which one is shown."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from contrail import EpisodeMetric, Observation, PluginError, Step, Task, Turn
from contrail.cli import app as cli
from contrail.episode import Episode
from contrail.metrics.episode import averages
from contrail.metrics.scores import Scores
from contrail.plugins.metrics.episode import METRICS
from contrail.registry.plugins import Plugins
from contrail.runs.launch import run_stream

# An environment that gives numbers of its own, and a plugin that makes metrics of them.
PLUGIN = """
import contrail

class Walk(contrail.Environment):
    def tasks(self, split):
        return [contrail.Task("walk", f"{split}-{i}", i, split, ("near", "far")[i % 2])
                for i in range(4)]

    def reset(self, task):
        self.left = 1 + task.seed % 2
        return contrail.Observation("Walk.", ["go"])

    def step(self, action):
        self.left -= 1
        info = {"distance": 2.5, "left": self.left}
        return contrail.Step(contrail.Observation("On.", ["go"]), 1.0, self.left == 0,
                             success=self.left == 0, info=info)

@contrail.hookimpl
def contrail_environments(register):
    register("walk", Walk)

@contrail.hookimpl
def contrail_metrics(register):
    register(contrail.EpisodeMetric(
        "distance", lambda episode: [turn.info.get("distance") for turn in episode.turns],
        unit="m", over="turns", heading="metres", format=".1f"))
    register(contrail.EpisodeMetric("left", lambda episode: episode.info.get("left")))
"""

STREAM = """
model: tiny-random
plugins: [walk.py]
stream: [{environment: walk, updates: 1}]
evaluate: {tasks: 4}
grpo: {num_generations: 2, generation_batch_size: 4}
"""


def episode(task: str, turns: int, *, success: bool = False, fault: str | None = None) -> Episode:
    played = Episode("walk", Task("walk", task, 0, "test"), 0, success=success, fault=fault)
    played.turns = [
        Turn([1], [2, 3], [0.0], [0.0], reward=1.0, valid=index > 0, info={"left": float(index)})
        for index in range(turns)
    ]
    return played


EPISODES = [
    episode("a", 1, success=True),
    episode("a", 2, success=True),
    episode("a", 3),
    episode("b", 4),
    episode("c", 9, fault="it broke"),
]


def test_means_over_tasks_episodes_and_turns() -> None:
    found = Scores.of(EPISODES, METRICS)
    assert found.scores == {"a": pytest.approx(2 / 3), "b": 0.0, "c": None}
    assert found.success == pytest.approx(1 / 3)
    assert found.metrics == {
        "success": found.success,
        "reward": 2.5,
        "turns": 2.5,
        "generated_tokens": 5.0,
        "invalid_action_rate": pytest.approx(4 / 10),
        "cut_off_rate": 0.0,
        "fault_rate": 0.2,
    }


def test_in_an_update_episodes_count_alike() -> None:
    success = METRICS[0]
    assert success.average(EPISODES, by_task=False) == 0.5


def test_nothing_to_average_is_undefined() -> None:
    assert Scores.of(EPISODES[-1:], METRICS).metrics == {
        **dict.fromkeys(metric.name for metric in METRICS if not metric.optional),
        "fault_rate": 1.0,
    }
    sparse = EpisodeMetric("left", lambda item: 3.0 if item.success else None)
    assert sparse.average(EPISODES) == 3.0
    assert sparse.average(EPISODES[2:]) is None


def test_an_optional_metric_is_there_where_an_environment_gives_it() -> None:
    long = EpisodeMetric(
        "long", lambda item: 1.0 if len(item.turns) > 3 else None, optional=True, over="tasks"
    )
    assert averages([long], EPISODES[:3]) == {}
    # Of task b alone; the episodes of task a have no number, and count as 0.
    assert averages([long], EPISODES) == {"long": 0.5}


def test_an_environment_that_gives_no_number_counts_for_none_in_an_update() -> None:
    grade = EpisodeMetric("grade", lambda item: item.info.get("grade"), optional=True)
    graded, failed, other = episode("a", 1), episode("a", 1), episode("b", 1)
    graded.turns[0].info["grade"] = 0.8
    other.environment = "ungraded"
    assert grade.average([graded, other], by_task=False) == 0.8
    assert grade.average([graded, failed, other, other], by_task=False) == 0.4
    assert grade.average([other]) is None


def test_what_steps_say_is_seen() -> None:
    assert EPISODES[3].info == {"left": 3.0}
    assert EpisodeMetric("left", lambda item: item.info.get("left")).average(EPISODES) == 1.5


def test_scores_are_read_back_also_those_of_older_versions() -> None:
    found = Scores.of(EPISODES, METRICS)
    assert Scores.read(json.loads(json.dumps(found.record()))) == found
    assert Scores.read(json.loads(json.dumps(found.summary()))) == found
    old = {"scores": {"a": 1.0}, "success": 1.0, "reward": 0.5, "turns": 2.0, "tasks": 1}
    assert Scores.read(old).summary() == old


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (EpisodeMetric("Far away", len), "lower-case"),
        (EpisodeMetric("tasks", len), "result.csv"),
        (EpisodeMetric("far", len, over="days"), "not episodes, turns or tasks"),  # type: ignore[arg-type]
        (EpisodeMetric("far", len, format="d"), "format"),
        (EpisodeMetric("far", 3), "function"),  # type: ignore[arg-type]
        (EpisodeMetric("turns", len), "already"),
        (len, "contrail.EpisodeMetric"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(metric: Any, said: str) -> None:
    plugins = Plugins()
    for own in METRICS:
        plugins.register_metric("metrics", own)
    with pytest.raises(PluginError, match=f"plugin 'mine'.*{said}"):
        plugins.register_metric("mine", metric)


@pytest.mark.parametrize(
    "value", [lambda episode: math.nan, lambda episode: "far", lambda episode: 1 / 0]
)
def test_a_metric_that_fails_names_its_plugin(value: Callable[[Episode], Any]) -> None:
    plugins = Plugins()
    plugins.register_metric("mine", EpisodeMetric("far", value))
    with pytest.raises(PluginError, match=r"'far' \(plugin 'mine'\) of the task 'a' of 'walk'"):
        Scores.of(EPISODES, plugins.episode_metrics)


@pytest.mark.parametrize(
    "info", [None, [1], {"far": math.inf}, {"far": "3"}, {"far": None}, {3: 1.0}]
)
def test_info_is_finite_numbers_by_name(info: Any) -> None:
    with pytest.raises(TypeError, match=r"Step\.info"):
        Step(Observation(""), info=info)


def test_numbers_of_any_kind_are_info() -> None:
    info = Step(Observation(""), info={"a": numpy.float32(0.5), "b": True, "c": 2}).info
    assert info == {"a": 0.5, "b": 1, "c": 2}
    assert {type(value) for value in info.values()} == {float}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("walk")
    (directory / "walk.py").write_text(PLUGIN)
    (directory / "stream.yaml").write_text(STREAM)
    return run_stream(directory / "stream.yaml", out=directory / "run", quiet=True).path


@pytest.fixture
def result(run: Path) -> Iterator[dict[str, Any]]:
    return json.loads((run / "result.json").read_text())  # type: ignore[no-any-return]


def test_result_json_has_it(result: dict[str, Any]) -> None:
    for row in result["evaluations"]:
        assert (row["walk"]["distance"], row["walk"]["left"]) == (2.5, 0.0)
        assert row["walk"]["by_difficulty"] == {
            "near": {"success": 1.0, "tasks": 2},
            "far": {"success": 1.0, "tasks": 2},
        }
    assert result["episode_metrics"]["distance"]["unit"] == "m"


def test_the_log_of_episodes_has_it(run: Path) -> None:
    lines = gzip.decompress((run / "episodes" / "000-evaluate.jsonl.gz").read_bytes()).splitlines()
    turns = [turn for line in lines for turn in json.loads(line)["turns"]]
    assert {turn["info"]["distance"] for turn in turns} == {2.5}


def test_reports_show_it(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["contrail", "report", str(run)])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "metres" in said
    assert "Success by difficulty" in said
    with (run / "result.csv").open(newline="") as file:
        assert [row["distance"] for row in csv.DictReader(file) if row["stage"]] == ["2.5", "2.5"]
    with (run / "result.difficulty.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["difficulty"]) for row in rows] == [
        (stage, difficulty) for stage in "01" for difficulty in ("near", "far")
    ]


def test_tensorboard_has_it(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for tag in ("train/distance", "train/success", "evaluate/walk/distance"):
        assert events.Scalars(tag), tag
    assert len(events.Scalars("evaluate/walk/success_by_difficulty/far")) == 2


def test_eval_shows_it(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["contrail", "eval", str(run), "walk", "--quiet"])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        cli.main()
    assert "metres" in capsys.readouterr().out


def test_a_run_without_the_plugin_is_still_reported(result: dict[str, Any]) -> None:
    from contrail.tables import columns, rows

    old = {**result}
    del old["episode_metrics"]
    assert columns(old) == columns(result)
    assert rows(old) == rows(result)


def test_comparisons_have_it(run: Path, tmp_path: Path) -> None:
    from contrail.comparison.launch import compare_runs
    from contrail.comparison.plan import read_options

    other = run_stream(run.parent / "stream.yaml", ["seed=1"], out=tmp_path / "other", quiet=True)
    found = compare_runs(
        [run, other.path], read_options(None, None, None, None, None), out=tmp_path / "compare"
    ).comparison
    estimate = found["summary"]["sequential"]["played"]["walk"]["distance"]
    assert (estimate["mean"], estimate["values"]) == (2.5, [2.5, 2.5])
    assert found["rows"][0]["played"]["walk"]["left"] == 0
