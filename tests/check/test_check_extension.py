"""The check of strategies whose stages may be given further updates."""

from __future__ import annotations

import re
from typing import Any

import pytest

import contrail
from contrail.check import run, training
from contrail.check.others import subject_of
from contrail.registry.plugins import load_plugins

PLUGINS = load_plugins()


class Halves(contrail.Strategy):
    """It trains on the first task alone in the second half of a stage, and does not say so."""

    starts_at = 1

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        drawn = stage.sample(count, rng)
        first = next(iter(stage.tasks.values()))[0]
        return drawn if update < stage.updates // 2 else [first] * count


class Says(Halves):
    scheduled = True


class Many(contrail.Strategy):
    """It refuses stages of few updates."""

    starts_at = 1

    def begin(self, learner: Any, stages: Any) -> None:
        if any(stage.updates < 3 for stage in stages):
            raise contrail.ConfigError("3 updates at least.")


def outcome(name: str) -> str:
    subject: Any = subject_of("strategy", name, PLUGINS)
    try:
        finding = run(training.extension, subject)
    finally:
        subject.close()
    return f"{finding.state}: {finding.note}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Halves, "failed: .* differ after update 1 of stage 3.*scheduled = True"),
        (Says, "skipped: scheduled is True"),
        (Many, "skipped: 3 updates at least"),
    ],
)
def test_outcomes(cls: type, words: str) -> None:
    found = outcome(PLUGINS.add_class(cls))
    assert re.match(words, found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PLUGINS.strategies))
def test_what_ships_passes_or_says_why_not(name: str) -> None:
    strategy = PLUGINS.strategies[name].value(None)
    if strategy.scheduled or strategy.starts_at is None:
        assert outcome(name).startswith("skipped: ")
    else:
        assert outcome(name) == "passed: "
