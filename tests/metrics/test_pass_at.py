"""avg@k and pass@k of several samples, against simulation and by hand."""

from itertools import combinations

import numpy as np
import pytest

from contrail.environment import Task
from contrail.episode import Episode
from contrail.metrics.pass_at import pass_at, repeated
from contrail.metrics.scores import Scores
from contrail.plugins.metrics.episode import METRICS


def episodes(*outcomes: list[bool | None]) -> list[Episode]:
    return [
        Episode(
            "a",
            Task("a", f"t{number}", number, "test"),
            sample,
            success=bool(success),
            fault="broke" if success is None else None,
        )
        for number, values in enumerate(outcomes)
        for sample, success in enumerate(values)
    ]


def test_pass_at_k_is_the_share_of_all_choices_of_k_samples() -> None:
    outcomes = {"a": [1.0, 0.0, 0.0, 1.0, 0.0], "b": [0.0] * 5, "c": [1.0] * 5}
    for k in range(1, 6):
        expected = [
            float(np.mean([max(chosen) for chosen in combinations(values, k)]))
            for values in outcomes.values()
        ]
        assert pass_at(outcomes, k) == pytest.approx(expected)


def test_pass_at_k_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    p, k, n = 0.3, 4, 6
    outcomes = {str(i): (rng.random(n) < p).astype(float).tolist() for i in range(4000)}
    found = [value for value in pass_at(outcomes, k) if value is not None]
    assert np.mean(found) == pytest.approx(1 - (1 - p) ** k, abs=0.02)


def test_of_six_samples() -> None:
    played = episodes([True] * 6, [False] * 6, [True, None, False, False, False, False])
    scores = Scores.of(played, METRICS)
    summary = scores.summary()
    assert list(summary["pass_at"]) == ["1", "2", "4", "6"]
    assert list(summary["avg_at"]) == ["6"]
    assert summary["avg_at"]["6"]["value"] == summary["success"]
    assert summary["pass_at"]["1"]["value"] == pytest.approx(summary["success"])
    assert summary["pass_at"]["6"] | {"interval": None} == {
        "value": 0.5,
        "interval": None,
        "tasks": 2,  # the third task has five episodes, and no pass@6
    }
    assert summary["pass_at"]["4"]["tasks"] == 3
    low, high = summary["pass_at"]["6"]["interval"]
    assert 0 <= low < 0.5 < high <= 1
    assert Scores.read(summary) == Scores.read(scores.record()) == scores


def test_one_sample_has_none() -> None:
    summary = Scores.of(episodes([True], [None])).summary()
    assert not {"pass_at", "avg_at", "outcomes"} & set(summary)
    assert repeated({}) == {}
