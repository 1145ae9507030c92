"""stream.yaml and overrides: what loads, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from configs import Load, made_plugins

from contrail.config import differences, load, to_dict, to_yaml
from contrail.errors import ConfigError


def test_two_lines_are_enough(read: Load) -> None:
    config = read("stream: [maze, craft]\n")
    assert [stage.environment.label for stage in config.stream] == ["maze", "craft"]
    assert [stage.updates for stage in config.stream] == [40, 40]
    assert [stage.name for stage in config.stream] == ["maze", "craft"]
    assert config.stream[0].environment.settings.size == 8
    assert (config.strategy.name, config.adapter.name) == ("sequential", "choose")
    assert (config.model, config.seed, config.threads) == ("smollm2-135m", 0, 1)
    assert (config.evaluate.tasks, config.evaluate.samples) == (32, 1)
    assert config.grpo.num_generations == 8
    assert config.lora.target_modules == "all-linear"
    assert config.max_context is None


FULL = """
model: HuggingFaceTB/SmolLM2-135M
seed: 3
stream:
  - environment: {name: maze, label: maze-small, size: 4, ratio: 1, colour: BLUE, mode: night,
                  door: {locked: true, keys: [a, "b${c"]}, doors: [{keys: [d]}], limit: null}
    updates: 0
    train: {difficulty: [easy, 2], tasks: 5}
    adapter: {name: react, max_new_tokens: 8}
    name: warm-up
  - environment: craft
    train: {difficulty: hard}
  - maze
strategy: {name: replay, fraction: 1e-1}
evaluate:
  decoding: greedy
  samples: 8
  environments: [craft, {name: maze, label: maze-large, size: '${oc.decode:"50"}'}]
grpo: {learning_rate: 1e-5, num_generations: 4, epsilon_high: null}
lora: {r: 4, exclude_modules: [lm_head]}
max_context: 2048
dtype: float32
""".replace('"b${c"', r"'b\${c}'")


def test_everything_is_typed(read: Load) -> None:
    config = read(FULL)
    first = config.stream[0]
    world = first.environment.settings
    assert (world.size, world.ratio, world.colour.name, world.mode) == (4, 1.0, "BLUE", "night")
    assert world.door.locked is True
    assert world.door.keys == ["a", "b${c}"]
    assert world.doors[0].keys == ["d"]
    assert first.train.difficulty == ("easy", 2)
    assert first.adapter.settings.max_new_tokens == 8
    assert first.name == "warm-up"
    assert config.stream[1].train.difficulty == ("hard",)
    assert config.stream[1].adapter == config.adapter
    assert config.strategy.settings.fraction == 0.1
    assert config.evaluate.environments[1].settings.size == 50
    labels = [environment.label for environment in config.environments]
    assert labels == ["maze-small", "craft", "maze", "maze-large"]


@pytest.mark.parametrize("text", ["stream: [maze, craft, maze]", FULL])
def test_yaml_loads_to_the_same(read: Load, text: str) -> None:
    config = read(text)
    again = read(to_yaml(config), file="again.yaml")
    assert to_dict(again) == to_dict(config)
    assert to_yaml(again) == to_yaml(config)
    assert differences(config, again) == []


@pytest.mark.parametrize(
    "goal", [r"\${x}", r"\\\${x}", "1e-4", "on", "null", "a: b # c", "é\n\tx", "", "'", "${", "???"]
)
def test_any_text_survives(read: Load, tmp_path: Path, goal: str) -> None:
    config = read("stream: [maze]")
    config.stream[0].environment.settings.goal = goal
    if goal == "???":  # OmegaConf's sign for a missing value cannot be said as a text
        with pytest.raises(ConfigError, match="stands for a value"):
            read(to_yaml(config))
        return
    assert read(to_yaml(config)).stream[0].environment.settings.goal == goal


def test_differences(read: Load) -> None:
    old = read("stream: [maze, craft]")
    new = read("stream: [maze]", "seed=1", "stream.0.environment.size=9", "grpo.beta=0.1")
    found = {key: (before, after) for key, before, after in differences(old, new)}
    assert found.pop("seed") == (0, 1)
    assert found.pop("stream.0.environment.size") == (8, 9)
    assert found.pop("grpo.beta") == (0.0, 0.1)
    assert found.pop("stream.1.environment.name") == ("craft", None)
    assert all(key.startswith("stream.1.") for key in found)


def test_where_it_runs_is_not_what_is_run(read: Load) -> None:
    changes = ["threads=2", "device=cpu"]
    assert differences(read("stream: [maze]"), read("stream: [maze]", *changes)) == []


def test_a_mapping_in_place_of_a_file() -> None:
    values = {"stream": ["maze", {"environment": "craft", "updates": 3}], "grpo": {"beta": 1}}
    config, _ = load(values, ["seed=2"], made_plugins())
    assert [stage.updates for stage in config.stream] == [40, 3]
    assert (config.seed, config.grpo.beta) == (2, 1.0)
    assert values["stream"] == ["maze", {"environment": "craft", "updates": 3}]
    values["stream"] = [{"environment": "maze", "updates": -1}]
    with pytest.raises(ConfigError) as caught:
        load(values, (), made_plugins())
    assert str(caught.value) == "stream.0.updates: -1 is too small. The least is 0."
    assert caught.value.key == ("stream", 0, "updates")


def test_an_override_of_all_stages(read: Load) -> None:
    text = "stream: [maze, {environment: craft, train: {tasks: 3}}]"
    config = read(text, "stream.*.updates=1", "stream.*.train.difficulty=[easy]", "stream.1.name=a")
    assert [stage.updates for stage in config.stream] == [1, 1]
    assert [stage.train.difficulty for stage in config.stream] == [("easy",), ("easy",)]
    assert [stage.train.tasks for stage in config.stream] == [None, 3]


def test_overrides(read: Load) -> None:
    config = read(
        "stream: [maze, {environment: craft}]",
        "seed=1",
        "stream.0.updates=10",
        "stream[1].updates=3",
        "stream.0.environment.size=5",
        "strategy=replay",
        "strategy.fraction=0.5",
        "adapter.name=react",
        "grpo.learning_rate=1e-6",
        "evaluate.tasks=8",
        "stream.1.train.difficulty=[easy,hard]",
        "threads=${seed}",
    )
    assert config.seed == config.threads == 1
    assert [stage.updates for stage in config.stream] == [10, 3]
    assert config.stream[0].environment.settings.size == 5
    assert config.strategy.settings.fraction == 0.5
    assert config.adapter.name == "react"
    assert config.grpo.learning_rate == 1e-6
    assert config.evaluate.tasks == 8
    assert config.stream[1].train.difficulty == ("easy", "hard")


def test_interpolation_to_a_default(read: Load) -> None:
    text = "stream: [{environment: maze, updates: '${evaluate.tasks}'}]"
    assert read(text).stream[0].updates == 32


def test_import_is_light() -> None:
    code = (
        "import sys, contrail.config; "
        "print([name for name in ('torch', 'trl', 'peft', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
