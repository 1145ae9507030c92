"""Where nothing is learnt, nothing changes: no rate, or no rewards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from contrail.runs.launch import run_stream
from contrail.strategies.merge import MergeConfig

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KINDS = get_args(get_type_hints(MergeConfig)["combination_type"])
STRATEGIES = [
    "sequential",
    "mixture",
    "{name: mixture, weights: {north: 1, south: 3}}",
    "cumulative",
    "isolated",
    "frozen",
    "replay",
    "{name: replay, mode: mastery}",
    "{name: replay, mode: episodes}",
    "{name: curriculum, by: pass_rate, samples: 2}",
    "review",
    "{name: balanced, rate: 2}",
    "progress",
    "retain",
    "distill",
    "[distill, kl, ewc]",
    "kl",
    "ewc",
    "{name: ewc, mode: separate, normalize: true}",
    "l2",
    "adapters",
    "orthogonal",
    *[f"{{name: merge, combination_type: {kind}}}" for kind in KINDS],
    "{name: merge, weight: 3, start: merged}",
    "[{name: replay, mode: episodes}, kl, {name: merge, start: merged}, ewc]",
]


def R(out: Path, stream: Path, *overrides: str) -> list[list[float]]:
    found: list[list[float]] = run_stream(stream, overrides, out=out, quiet=True).read_result()["R"]
    return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_learning_rate_no_row_differs(strategy: str, tmp_path: Path) -> None:
    rows = R(
        tmp_path / "run",
        EXAMPLES / "conflict.yaml",
        f"strategy={strategy}",
        "grpo.learning_rate=0",
        "evaluate={tasks: 8, samples: 2, baselines: false}",
        "grpo.generation_batch_size=8",
        "stream.*.updates=2",
    )
    assert len(rows) > 1
    assert all(row == rows[0] for row in rows)


def test_every_strategy_that_ships_is_here() -> None:
    shipped = {path.stem for path in (ROOT / "strategies").glob("[a-z]*.py")}
    assert {name for name in shipped if any(name in text for text in STRATEGIES)} == shipped


STREAM = """
model: tiny-random
dtype: float32
plugins: [nowhere.py]
stream:
  - environment: {name: conflict, label: north, rule: north}
    updates: 50
  - environment: {name: conflict, label: nowhere, rule: nowhere}
    updates: 40
evaluate: {tasks: 32, samples: 4}
grpo: {num_generations: 4, generation_batch_size: 64, learning_rate: 1e-3, temperature: 0.1}
"""


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that is learnt, then an environment that never rewards."""
    directory = tmp_path_factory.mktemp("nowhere")
    shutil.copy(EXAMPLES / "conflict.py", directory / "nowhere.py")
    text = (directory / "nowhere.py").read_text()
    for old, new in (
        ('["north", "south"]', '["north", "nowhere"]'),
        ("done = ", "done = wins and "),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    text = text.replace(
        "        done =", '        wins = self.config.rule == "north"\n        done ='
    )
    (directory / "nowhere.py").write_text(text)
    (directory / "stream.yaml").write_text(STREAM)
    return directory / "stream.yaml"


@pytest.mark.parametrize(
    ("seed", "adds"),
    [
        (0, []),
        (1, ["grpo.entropy_coef=0.01"]),
        (2, ["grpo.entropy_coef=0.01", "grpo.beta=0.05", "grpo.steps_per_generation=2"]),
        (3, ["strategy=distill"]),
    ],
    ids=str,
)
def test_what_never_rewards_undoes_nothing(
    nowhere: Path, tmp_path: Path, seed: int, adds: list[Any]
) -> None:
    rows = R(tmp_path / "run", nowhere, f"seed={seed}", *adds)
    assert rows[1][0] >= 0.97
    assert rows[2][0] == rows[1][0]
    assert [row[1] for row in rows] == [0, 0, 0]
