"""What contrail's functions are given: numbers, names, streams and plugins that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import contrail
from contrail import ConfigError, Environment, Observation, Step, Task
from contrail.api import estimate_comparison
from contrail.registry.plugins import load_plugins
from contrail.runs.policies import LoRADirectory


class Pair(Environment):
    """Two actions, of which the first wins."""

    def tasks(self, split: str) -> list[Task]:
        return [Task("pair", f"{split}-{n}", n, split) for n in range(3)]

    def reset(self, task: Task) -> Observation:
        return Observation("Choose.", ["left", "right"])

    def step(self, action: str) -> Step:
        won = action == "left"
        return Step(Observation("Done.", []), float(won), terminated=True, success=won)


class Other(Pair):
    pass


class Mine(contrail.Strategy):
    pass


STREAM = {
    "model": "tiny-random",
    "stream": [{"environment": Pair, "updates": 1}],
    "evaluate": {"tasks": 2, "baselines": False},
    "grpo": {"num_generations": 2, "generation_batch_size": 4},
}


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda **given: contrail.evaluate("tiny-random", "babyai", **given), "tasks"),
        (lambda **given: contrail.evaluate("tiny-random", "babyai", **given), "samples"),
        (lambda **given: contrail.evaluate("tiny-random", "babyai", **given), "threads"),
        (lambda **given: contrail.split(STREAM, out="split.json", **given), "tasks"),
        (lambda **given: contrail.split(STREAM, out="split.json", **given), "samples"),
    ],
)
def test_what_counts_something(call: Callable[..., Any], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value!r}: give a whole number, 1 or more"):
        call(**{name: value})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: contrail.split(STREAM, out="split.json", threshold=2), "from 0 to 1"),
        (lambda: contrail.run(STREAM, ["seed=1"]), "is no override: give each"),
        (lambda: contrail.compare([], ["seed=1"]), "is no override: give each"),
        (lambda: contrail.compare(STREAM, seeds=3), r"seeds is 3: give a list, such as \[3\]"),
        (lambda: contrail.compare([5]), "run is 5: give a path"),
        (lambda: contrail.run(STREAM, plugins=5), "plugins is 5: give a list"),
        (lambda: contrail.run(STREAM, out=5), "out is 5: give a path"),
        (lambda: contrail.split(STREAM, out=None), "out is None: give a path"),
        (lambda: contrail.load(None), "directory is None: give a path"),
        (lambda: contrail.evaluate("tiny-random", None), "environments is None: give a name"),
        (lambda: contrail.evaluate("tiny-random", "babyai", greedy="no"), "greedy is 'no'"),
        (lambda: contrail.study(None), "there is no experiment None"),
        (lambda: contrail.run({"stream": [Pair()]}), "give the class, Pair, and its settings"),
        (
            lambda: contrail.run(STREAM, strategy=Pair),
            "no strategy is called 'Pair'. There is one of another kind, environment 'Pair'",
        ),
        (lambda: contrail.compare([]), "nothing to compare"),
        (lambda: contrail.run([1]), "is no stream"),
        (lambda: contrail.run(None), "is no stream"),
        (lambda: contrail.compare(STREAM, strategies=[Mine]), "cannot load 'Mine'"),
        (lambda: estimate_comparison(STREAM, strategies="kl", seeds=numpy.array([0, 0])), "seeds"),
    ],
)
def test_what_cannot_be_meant(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()


def test_more_classes_for_a_policy_of_classes(tmp_path: Path) -> None:
    result = contrail.run(STREAM, out=tmp_path / "run", quiet=True)
    found = contrail.evaluate(result, [Pair, "Other"], plugins=[Other], quiet=True)
    assert list(found) == ["Pair", "Other"]
    again = contrail.evaluate(result, "Other", plugins=[Other, Pair], quiet=True)
    assert again["Other"].success == found["Other"].success


def test_a_registered_model_is_no_directory_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny-random").mkdir()
    Path("tiny-random/adapter_config.json").write_text("{}")
    Path("tiny-random/config.yaml").write_text("base_model: of another trainer")
    plugins = load_plugins()
    assert LoRADirectory.find("tiny-random", plugins) is None
    found = LoRADirectory.find(str(tmp_path / "tiny-random"), plugins)
    assert found is not None
    assert found.config is None
