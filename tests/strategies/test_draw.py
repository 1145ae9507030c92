"""The numbers of the updates for which a strategy draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import contrail
from contrail.registry.plugins import Plugins, load_plugins


class Counts(contrail.Strategy):
    """It keeps for which stage and update it has drawn."""

    drawn: list[tuple[str, int]]

    def begin(self, learner: Any, stages: Any) -> None:
        type(self).drawn = []

    def draw(self, stage: Any, update: int, count: int, rng: Any) -> Any:
        self.drawn.append((stage.name, update))
        assert update < stage.updates
        return super().draw(stage, update, count, rng)


def test_updates_count_from_0_in_each_stage_anew(tmp_path: Path) -> None:
    plugins: Plugins = load_plugins()
    small = {"name": "textcraft", "depths": [1], "max_turns": 1}
    stream = {
        "model": "tiny-random",
        "strategy": plugins.add_class(Counts),
        "stream": [
            {"environment": {**small, "label": label}, "updates": updates}
            for label, updates in (("one", 2), ("two", 3))
        ],
        "evaluate": {"tasks": 1, "baselines": False},
        "grpo": {"num_generations": 2, "generation_batch_size": 2},
    }
    contrail.run(stream, plugins=plugins, out=tmp_path / "run", quiet=True)
    assert Counts.drawn == [("one", 0), ("one", 1), ("two", 0), ("two", 1), ("two", 2)]
