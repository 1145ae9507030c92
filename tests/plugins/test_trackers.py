"""Trackers: what they keep of a run, and that a run calls those alone which it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from configs import Load

from contrail.environment import Task
from contrail.episode import Episode, Turn
from contrail.metrics.scores import Scores
from contrail.plugins.trackers import tensorboard
from contrail.registry.observers import Observers
from contrail.registry.plugins import load_plugins


@dataclass
class FakeRun:
    directory: Path
    name: str = "course"
    update: int = 0
    config_text: str = "model: tiny\nseed: 0\n"


def play(tracker: ModuleType, directory: Path) -> None:
    """A run that is interrupted after two updates, and goes on to its end."""
    run: Any = FakeRun(directory)
    scores = {"baby ai": Scores({"t": 0.25}, {"turns": 4.0, "reward": None})}
    tracker.contrail_run_start(run)
    tracker.contrail_evaluated(run, 0, scores)
    for update in (1, 2):
        run.update = update
        tracker.contrail_update(run, {"loss": update / 2})
    tracker.contrail_run_start(run)
    run.update = 3
    tracker.contrail_update(run, {"loss": 1.5})
    tracker.contrail_evaluated(run, 1, scores)
    tracker.contrail_run_end(run)
    assert tracker._runs == {}


def test_mlflow_in_a_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    from contrail.plugins.trackers import mlflow as tracker

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    play(tracker, tmp_path)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("contrail").experiment_id
    (found,) = client.search_runs([experiment])
    assert found.info.run_name == "course"
    assert found.info.status == "FINISHED"
    losses = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(item.step, item.value) for item in losses] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    success = client.get_metric_history(found.info.run_id, "evaluate/baby ai/success")
    assert [(item.step, item.value) for item in success] == [(0, 0.25), (3, 0.25)]


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from contrail.plugins.trackers import wandb as tracker

    for name, value in {"MODE": "offline", "SILENT": "true", "CACHE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    play(tracker, tmp_path)
    number = (tmp_path / ".wandb-run").read_text()
    files = list(tmp_path.glob(f"wandb/offline-run-*-{number}/*.wandb"))
    assert len(files) == 2  # before the interruption and after; both are the same run
    kept = b"".join(file.read_bytes() for file in files)
    assert b"train/loss" in kept
    assert b"evaluate/baby ai/success" in kept


def test_trackio_in_a_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    from contrail.plugins.trackers import trackio as tracker

    play(tracker, tmp_path)
    logs = SQLiteStorage.get_logs("contrail", f"course-{(tmp_path / '.trackio-run').read_text()}")
    losses = [(item["step"], item["train/loss"]) for item in logs if "train/loss" in item]
    assert losses == [(1, 0.5), (2, 1.0), (3, 1.5)]
    success = [item["step"] for item in logs if "evaluate/baby ai/success" in item]
    assert success == [0, 3]


def test_a_run_calls_the_trackers_that_it_names(tmp_path: Path) -> None:
    run: Any = FakeRun(tmp_path)
    plugins = load_plugins()
    Observers(plugins, tmp_path, trackers=()).call("contrail_run_start", run=run)
    assert not (tmp_path / "tensorboard").exists()
    made = Observers(plugins, tmp_path, trackers=("tensorboard",))
    made.call("contrail_run_start", run=run)
    made.call("contrail_run_end", run=run)
    assert (tmp_path / "tensorboard").exists()
    assert made.failures == []


@pytest.mark.parametrize(
    ("trackers", "said"),
    [
        ("wandbb", "Did you mean 'wandb'"),
        ("trackio", "pip install 'contrail[trackio]'"),
        ("own.py", "own.py does not exist"),
    ],
)
def test_a_tracker_that_is_not_there(
    complain: Callable[..., str], monkeypatch: pytest.MonkeyPatch, trackers: str, said: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = complain(f"stream: [maze]\ntrackers: [{trackers}]\n")
    assert "trackers" in message
    assert said in message


def test_the_trackers_do_not_identify_a_run(read: Load) -> None:
    assert read("stream: [maze]\n").trackers == ("tensorboard",)
    assert read("stream: [maze]\ntrackers: []\n").trackers == ()


def episode(text: str) -> Episode:
    turn = Turn([], [], [], [], observation="<script>alert(1)</script>", text=text, reward=1.0)
    return Episode(
        "babyai", Task("babyai", "t1", 0, "train"), 0, [turn], "terminated", True, "Be good."
    )


def test_an_episode_in_tensorboard_is_text(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run: Any = FakeRun(tmp_path)
    tensorboard.contrail_run_start(run)
    for run.update in (0, 1, 10):
        tensorboard.contrail_episodes(run, [episode("a\x1b[31m" + "x" * 10_000), episode("second")])
    tensorboard.contrail_run_end(run)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = events.Tensors("episode/babyai/text_summary")
    assert [item.step for item in shown] == [1, 11]
    text = shown[0].tensor_proto.string_val[0].decode()
    assert all(line.startswith("    ") for line in text.split("\n"))  # code, never markup
    assert "alert(1)" in text
    assert "\x1b" not in text
    assert "second" not in text
    assert len(text) < 6000


def test_the_runs_of_a_comparison_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    def row(strategy: str, seed: int, score: float | None) -> dict[str, Any]:
        return {
            "run": f"/somewhere/{strategy}_{seed}",
            "strategy": strategy,
            "order": 0,
            "seed": seed,
            "metrics": {"average_score": score, "forgetting": None},
            "success": {"babyai": score},
        }

    rows = [row("sequential", 0, 0.5), row("replay", 1, None)]
    comparison = {"orders": [["babyai", "textcraft"]], "rows": rows}
    for _ in range(2):  # a new report replaces the old one
        tensorboard.contrail_comparison(comparison, str(tmp_path))
    found = {}
    for folder in (tmp_path / "tensorboard").iterdir():
        assert len(list(folder.iterdir())) == 1
        events = EventAccumulator(str(folder))
        events.Reload()
        content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        found[folder.name] = start, events
    start, events = found["sequential_0"]
    assert start.hparams["strategy"].string_value == "sequential"
    assert start.hparams["order"].string_value == "babyai > textcraft"
    assert start.hparams["seed"].number_value == 0
    assert [item.value for item in events.Scalars("metrics/average_score")] == [0.5]
    assert events.Tags()["scalars"] == ["metrics/average_score", "success/babyai"]
    assert found["replay_1"][1].Tags()["scalars"] == []
