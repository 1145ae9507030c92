"""Success in training, in the page and in the figure, is that of result.json: the model's own."""

from __future__ import annotations

import pytest

import contrail
from contrail.check.world import NAME
from contrail.plugins.html_report import episodes, run
from contrail.plugins.reports import figures


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> contrail.Result:
    """Of a warm-up and three stages, the second of which imitates."""
    columns = {rule: {"name": NAME, "label": rule, "rule": rule} for rule in ("north", "south")}
    stream = {
        "model": "tiny-random",
        "plugins": ["contrail.check.world"],
        "warmup": {"updates": 2},
        "stream": [
            {"environment": columns["north"], "updates": 3},
            {"environment": columns["south"], "updates": 2, "learn": "imitate"},
            {"environment": columns["north"], "updates": 2},
        ],
        "evaluate": {"tasks": 4, "baselines": False},
        "trackers": [],
        "grpo": {"num_generations": 4, "generation_batch_size": 8},
    }
    return contrail.run(stream, out=tmp_path_factory.mktemp("shown") / "run", quiet=True)


def test_demonstrations_are_not_the_models_successes(result: contrail.Result) -> None:
    starts = [0, 2, 5, 7]
    expected = {
        name: {
            start + update: success
            for start, stage in zip(starts, result.record["training"], strict=True)
            for update, success in stage.get(name, [])
        }
        for name in result.environments
    }
    found = episodes.packed(result.directory, ())
    shown = {
        name: {update: solved / count for update, (solved, count) in updates.items()}
        for name, updates in found.training.items()
    }
    assert shown == {name: points for name, points in expected.items() if points}
    assert set(shown) == {"north"}
    chart = run.training_curves(result.record, found)
    assert [at for at, _ in chart["marks"]] == starts


def test_stages_of_demonstrations_take_their_room_in_the_figure(result: contrail.Result) -> None:
    axes = figures.training(result.record).axes[0]
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "."]
    assert [list(x) for x in dots] == [[3, 4, 5], [8, 9]]
