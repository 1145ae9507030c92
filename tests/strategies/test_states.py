"""States of strategies, as rows of R are restored."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from killed import killed_after

from benchmarks.kill import differences
from contrail import Strategy
from contrail.runs.composition import Composition, _Member
from contrail.runs.launch import run_stream
from contrail.strategies.adapters import Adapters

EXAMPLE = Path(__file__).parents[2] / "examples" / "guess.py"
STREAM = """
model: tiny-random
plugins: [guess.py]
strategy: {name: ewc, passes: 16}
stream:
  - environment: {name: guess-number, label: near, max_turns: 2}
    updates: 1
  - environment: {name: guess-number, label: far, max_turns: 3}
    updates: 2
evaluate: {tasks: 2, drift: true, baselines: false}
checkpoint: {updates: 1}
grpo: {num_generations: 4, generation_batch_size: 8, learning_rate: 1e-2}
"""


class Average(Strategy):
    """Evaluates with an average of the policies so far, if there is one."""

    average: str | None = None

    def enter(self, context: Any, resumed: bool) -> None:
        self.average = f"of {context.number}"

    def evaluating(self, policy: Any, environment: str) -> Any:
        raise AssertionError

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average} if self.average else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average = state.get("average")


class Demanding(Strategy):
    """Never changes an evaluation, and expects the state that it has returned."""

    seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen} if self.seen else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def composed(**strategies: Strategy) -> Composition:
    registered: Any = SimpleNamespace(plugin="test", source="test")
    return Composition([_Member(name, registered, made) for name, made in strategies.items()])


def test_a_row_before_any_state_is_evaluated_without_one() -> None:
    average, demanding = Average(), Demanding()
    run = composed(average=average, demanding=demanding)
    before = run.state_dict()
    assert before == {}
    context: Any = SimpleNamespace(number=1)
    run.enter(context, resumed=False)
    demanding.seen = 3
    after = run.state_dict()
    run.load_state_dict(before)  # row 0, for an environment that was added
    assert average.average is None
    run.load_state_dict(after)
    assert (average.average, demanding.seen) == ("of 1", 3)


def test_a_run_that_goes_on_restores_rows_as_well() -> None:
    average = Average()
    run = composed(average=average)
    run.load_state_dict({})  # nothing has happened yet
    run.load_state_dict({"average": {"average": "of 2"}})
    run.load_state_dict({})
    assert average.average is None


def test_the_loras_of_environments_are_those_of_the_row() -> None:
    adapters = Adapters()
    run = composed(adapters=adapters)
    run.load_state_dict({"adapters": {"fresh": {"w": 0}, "of": {"babyai": {}}, "own": ["babyai"]}})
    run.load_state_dict({})
    assert adapters.state_dict() == {}


def test_a_state_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """Drift from the row before needs its state, and then that of the checkpoint again."""
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "stream.yaml").write_text(STREAM)
    path = tmp_path / "stream.yaml"
    undisturbed = run_stream(path, out=tmp_path / "undisturbed", quiet=True).path
    with killed_after(3):
        run_stream(path, out=tmp_path / "killed", quiet=True)
    run_stream(path, out=tmp_path / "killed", quiet=True)
    assert not differences(tmp_path / "killed", undisturbed)
