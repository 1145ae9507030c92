"""stream.yaml and overrides: what loads, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from configs import Load

from contrail.config.parse import differences, grpo_config, lora_config, to_dict, to_yaml
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
    assert config.grpo["num_generations"] == 8
    assert config.lora["target_modules"] == "all-linear"
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
    assert config.grpo["learning_rate"] == 1e-6
    assert config.evaluate.tasks == 8
    assert config.stream[1].train.difficulty == ("easy", "hard")


def test_interpolation_to_a_default(read: Load) -> None:
    text = "stream: [{environment: maze, updates: '${evaluate.tasks}'}]"
    assert read(text).stream[0].updates == 32


# trl and peft


def test_grpo_config(read: Load, tmp_path: Path) -> None:
    config = read("stream: [{environment: maze, updates: 5}, craft]", "grpo.steps_per_generation=4")
    out = tmp_path / "out"
    grpo = grpo_config(config, out)
    assert (grpo.num_generations, grpo.generation_batch_size) == (8, 32)
    assert (grpo.per_device_train_batch_size, grpo.steps_per_generation) == (8, 4)
    assert grpo.max_steps == 45 * 4
    assert grpo.loss_type == "dapo"
    assert not any((grpo.bf16, grpo.fp16, grpo.gradient_checkpointing))
    assert grpo.report_to == []
    assert grpo_config(config, out, max_completion_length=7).max_completion_length == 7
    assert not out.exists()


def test_lora_config(read: Load) -> None:
    config = read("stream: [maze]", "lora={r: 4, layers_to_transform: [0]}")
    assert lora_config(config).target_modules == "all-linear"
    assert lora_config(config).r == 4
    assert set(lora_config(config, ["q_proj"]).target_modules or ()) == {"q_proj"}
    named = read("stream: [maze]", "lora.target_modules=[k_proj]")
    assert set(lora_config(named).target_modules or ()) == {"k_proj"}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("grpo.learning_rat=1", "unknown key of GRPOConfig. Did you mean 'learning_rate'?"),
        (
            "grpo={num_generation: 2, generation_batch_size: 4}",
            "grpo.num_generation: unknown key of",
        ),
        (
            "grpo={epsilon_high: 0.3, generation_batch_size: 4}",
            "grpo.generation_batch_size: grpo.gen",
        ),
        ("grpo.learning_rate=fast", "'fast' is not a number."),
        ("grpo.num_generations=true", "true is not a whole number or null."),
        ("grpo.num_iterations=1.5", "1.5 is not a whole number."),
        ("grpo.lr_scheduler_type=konstant", "GRPOConfig refuses it: konstant is not a valid"),
        ("lora.rank=3", "unknown key of LoraConfig. Did you mean"),
        ("lora.r=many", "'many' is not a whole number."),
        ("lora.lora_alfa=3", "unknown key of LoraConfig. Did you mean 'lora_alpha'?"),
        ("lora.bias=some", "'some' is not one of none, all, lora_only."),
        ("lora.layers_pattern=h", "LoraConfig refuses it: When `layers_pattern`"),
    ],
)
def test_refused_by_trl_and_peft(read: Load, tmp_path: Path, override: str, says: str) -> None:
    config = read("stream: [maze]", override)
    with pytest.raises(ConfigError) as caught:
        lora_config(config) if override.startswith("lora") else grpo_config(config, tmp_path)
    assert str(caught.value).startswith(f"override {override!r}: {says}")


def test_import_is_light() -> None:
    code = (
        "import sys, contrail.config.parse; "
        "print([name for name in ('torch', 'trl', 'peft', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
