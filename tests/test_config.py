"""stream.yaml and overrides: what loads, what comes of it, and what every mistake is answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from contrail.config import (
    RunConfig,
    differences,
    grpo_config,
    load,
    lora_config,
    to_dict,
    to_yaml,
)
from contrail.errors import ConfigError, PluginError
from contrail.manager import Plugins

PLUGIN = """
import enum
from dataclasses import dataclass, field
from typing import Literal

import contrail


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Door:
    locked: bool = False
    keys: list[str] = field(default_factory=list)


@dataclass
class World:
    size: int = 8
    ratio: float = 0.5
    door: Door = field(default_factory=Door)
    doors: list[Door] = field(default_factory=list)
    colour: Colour = Colour.RED
    mode: Literal["day", "night"] = "day"
    limit: int | None = None
    goal: str = "out"

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size is {self.size}, the least is 1")


class Maze(contrail.Environment):
    Config = World

    def tasks(self, split):
        return []

    def reset(self, task):
        return contrail.Observation("")

    def step(self, action):
        return contrail.Step(contrail.Observation(""))


class Craft(Maze):
    Config = contrail.Environment.Config


@contrail.hookimpl
def contrail_environments(register):
    register("maze", Maze)
    register("craft", Craft)
"""

BUILT_IN = """
from dataclasses import dataclass

import contrail


class Choose(contrail.Adapter):
    def render(self, observation):
        return observation.text

    def parse(self, text, observation):
        return text


class React(Choose):
    @dataclass
    class Config:
        max_new_tokens: int = 64


class Replay(contrail.Strategy):
    @dataclass
    class Config:
        fraction: float = 0.25

        def __post_init__(self):
            if not 0 <= self.fraction <= 1:
                raise ValueError(f"fraction is {self.fraction}, not between 0 and 1")


@contrail.hookimpl
def contrail_adapters(register):
    register("choose", Choose)
    register("react", React)


@contrail.hookimpl
def contrail_strategies(register):
    register("sequential", contrail.Strategy)
    register("replay", Replay)


@contrail.hookimpl
def contrail_models(register):
    register("smollm2-135m", lambda: None)
"""

Load = Callable[..., RunConfig]


def made_plugins() -> Plugins:
    plugins = Plugins()
    for name, text in (("built-in", BUILT_IN), ("worlds", PLUGIN)):
        module = ModuleType(f"contrail_test_{name.replace('-', '_')}")
        sys.modules[module.__name__] = module  # where dataclasses look up annotations
        exec(text, vars(module))
        plugins.add(module, name)
    return plugins


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Loads a text as stream.yaml, with overrides."""

    def load_text(text: str, *overrides: str, file: str = "stream.yaml") -> RunConfig:
        path = tmp_path / file
        path.write_text(text)
        return load(path, overrides, made_plugins())[0]

    return load_text


@pytest.fixture
def complain(read: Load, tmp_path: Path) -> Callable[..., str]:
    """The one-line complaint about a text, with FILE for the file's name."""

    def message(text: str, *overrides: str) -> str:
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides)
        found = str(caught.value)
        assert "\n" not in found
        assert "object_type" not in found
        return found.replace(str(tmp_path / "stream.yaml"), "FILE")

    return message


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


# Each mistake: the file, and what the one-line answer starts with and says.
STREAM = "stream: [maze]\n"
MISTAKES: dict[str, tuple[str, str, str]] = {
    "empty": ("", "FILE: the file is empty", "stream: [babyai"),
    "only a comment": ("# todo\n", "FILE: the file is empty", ""),
    "a list": ("- maze\n", "FILE:1: the top level is not a mapping", ""),
    "a text": ("maze", "FILE:1: the top level is not a mapping", ""),
    "syntax": ("seed: 1\nstream: [maze\n", "FILE:3:1: not valid YAML", "brackets"),
    "unquoted": ("evaluate: {tasks: ${seed}}\n", "FILE:1:20: not valid YAML", "in quotes"),
    "quote": ('seed: "1\nstream: [maze]\n', "FILE:", "not valid YAML"),
    "tab": ("stream:\n\t- maze\n", "FILE:2:1: not valid YAML", "use spaces"),
    "control character": ("seed: 1\na: \x07\n", "FILE:2:4: not valid YAML", "not allowed"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "FILE:2:1: not valid YAML", "document"),
    "tag": ("seed: !!python/name:os.system\n" + STREAM, "FILE:1:7: not valid YAML", "tag"),
    "alias to itself": ("stream: &a [*a]\n", "FILE:1", "recursive"),
    "unknown alias": ("stream: *a\n", "FILE:1:9: not valid YAML", "alias"),
    "duplicate": ("seed: 1\nstream: [maze]\nseed: 2\n", "FILE:3: seed: is given twice", "line 1"),
    "inner duplicate": (
        "stream:\n  - environment: maze\n    updates: 1\n    updates: 2\n",
        "FILE:4: stream.0.updates: is given twice",
        "line 3",
    ),
    "key not a name": ("? [a]\n: 1\n" + STREAM, "FILE:1: top level: a key must be a name", ""),
    "null key": ("null: 1\n" + STREAM, "FILE:1: top level: a key must be a name", ""),
    "number key": ("1: 1\n" + STREAM, "FILE:1: 1: unknown key", "Known: "),
    "no stream": ("seed: 1\n", "FILE: `stream` is missing", "stream: [babyai"),
    "stream null": ("seed: 1\nstream:\n", "FILE:2: stream: null is not a list", ""),
    "stream text": ("stream: maze\n", "FILE:1: stream: 'maze' is not a list", "stream: ["),
    "stream empty": ("stream: []\n", "FILE:1: stream: there must be at least one", ""),
    "stage null": ("stream:\n  - maze\n  -\n", "FILE:3: stream.1: null is neither", ""),
    "unknown top": ("sede: 1\n" + STREAM, "FILE:1: sede: unknown key", "'seed'"),
    "internal field": ("source: 1\n" + STREAM, "FILE:1: source: unknown key", ""),
    "unknown in stage": (
        "stream:\n  - updates: 3\n    enviroment: maze\n",
        "FILE:3: stream.0.enviroment: unknown key",
        "Did you mean 'environment'?",
    ),
    "unknown evaluate": ("evalaute: {taks: 1}\n" + STREAM, "FILE:1: evalaute:", "'evaluate'"),
    "unknown in evaluate": (
        STREAM + "evaluate:\n  taks: 1\n",
        "FILE:3: evaluate.taks: unknown key",
        "Did you mean 'tasks'?",
    ),
    "unknown in train": (
        "stream: [{environment: maze, train: {dificulty: easy}}]",
        "FILE:1: stream.0.train.dificulty: unknown key",
        "'difficulty'",
    ),
    "unknown setting": (
        "stream:\n  - environment:\n      name: maze\n      sise: 3\n",
        "FILE:4: stream.0.environment.sise: unknown key",
        "'size'",
    ),
    "setting of none": (
        "stream: [{environment: {name: craft, size: 3}}]",
        "FILE:1: stream.0.environment.size: unknown key",
        "no settings",
    ),
    "setting in the stage": (
        "stream: [{environment: maze, size: 3}]",
        "FILE:1: stream.0.size: unknown key",
        "environment: {name: maze, size: …}",
    ),
    "unknown nested setting": (
        "stream: [{environment: {name: maze, door: {loked: true}}}]",
        "FILE:1: stream.0.environment.door.loked: unknown key",
        "'locked'",
    ),
    "unknown strategy setting": (
        STREAM + "strategy: {name: replay, fractoin: 1}",
        "FILE:2: strategy.fractoin: unknown key",
        "'fraction'",
    ),
    "environment name": ("stream:\n  - mase\n", "FILE:2: stream.0: no environment", "'maze'"),
    "environment name in key": (
        "stream:\n  - updates: 1\n    environment: mase\n",
        "FILE:3: stream.0.environment: no environment is called 'mase'",
        "Did you mean 'maze'?",
    ),
    "environment name in mapping": (
        "stream:\n  - environment:\n      size: 1\n      name: mase\n",
        "FILE:4: stream.0.environment.name: no environment",
        "'maze'",
    ),
    "environment missing": ("stream: [{updates: 3}]", "FILE:1: stream.0: `environment`", "maze"),
    "environment null": (
        "stream: [{environment: null}]",
        "FILE:1: stream.0.environment: null is neither",
        "maze",
    ),
    "environment number": ("stream: [{environment: 3}]", "FILE:1: stream.0.environment: 3", "maze"),
    "environment without name": (
        "stream: [{environment: {size: 3}}]",
        "FILE:1: stream.0.environment: `name` is missing",
        "maze",
    ),
    "misspelt name": (
        "stream: [{environment: {nmae: maze}}]",
        "FILE:1: stream.0.environment.nmae: unknown key",
        "'name'",
    ),
    "name is a list": (
        "stream: [{environment: {name: [maze]}}]",
        "FILE:1: stream.0.environment.name: no environment",
        "",
    ),
    "label": (
        "stream: [{environment: {name: maze, label: 3}}]",
        "FILE:1: stream.0.environment.label: 3 is not a name",
        "",
    ),
    "strategy name": (STREAM + "strategy: replya", "FILE:2: strategy: no strategy", "'replay'"),
    "strategy null": (STREAM + "strategy:", "FILE:2: strategy: null is neither", "replay"),
    "adapter name": (STREAM + "adapter: chose", "FILE:2: adapter: no adapter", "'choose'"),
    "adapter in stage": (
        "stream: [{environment: maze, adapter: reakt}]",
        "FILE:1: stream.0.adapter: no adapter",
        "'react'",
    ),
    "model name": ("model: smolm2-135m\n" + STREAM, "FILE:1: model: no model", "'smollm2-135m'"),
    "model path": ("model: ./gone\n" + STREAM, "FILE:1: model: there is no directory", ""),
    "model empty": ("model: ''\n" + STREAM, "FILE:1: model: no model", ""),
    "model null": ("model:\n" + STREAM, "FILE:1: model: null is not text", ""),
    "updates": (
        "stream:\n- environment: maze\n  updates: many\n",
        "FILE:3: stream.0.updates: 'many' is not a whole number",
        "",
    ),
    "updates below 0": (
        "stream: [{environment: maze, updates: -3}]",
        "FILE:1: stream.0.updates: -3 is too small",
        "0",
    ),
    "updates null": (
        "stream: [{environment: maze, updates: null}]",
        "FILE:1: stream.0.updates: null is not a whole number",
        "",
    ),
    "seed fraction": ("seed: 1.5\n" + STREAM, "FILE:1: seed: 1.5 is not a whole number", ""),
    "seed bool": ("seed: true\n" + STREAM, "FILE:1: seed: true is not a whole number", ""),
    "seed null": ("seed:\n" + STREAM, "FILE:1: seed: null is not a whole number", ""),
    "seed mapping": ("seed: {a: 1}\n" + STREAM, "FILE:1: seed: {a: 1} is not a whole", ""),
    "seed large": ("seed: 99999999999\n" + STREAM, "FILE:1: seed: 99999999999 is too large", ""),
    "threads": ("threads: 0\n" + STREAM, "FILE:1: threads: 0 is too small", "1"),
    "max_context": ("max_context: 0\n" + STREAM, "FILE:1: max_context: 0 is too small", ""),
    "tasks 0": (STREAM + "evaluate: {tasks: 0}", "FILE:2: evaluate.tasks: 0 is too small", "1"),
    "evaluate number": (STREAM + "evaluate: 3", "FILE:2: evaluate: 3 is not a mapping", ""),
    "evaluate null": (STREAM + "evaluate:", "FILE:2: evaluate: null is not a mapping", ""),
    "evaluate environment": (
        STREAM + "evaluate:\n  environments:\n    - crafd\n",
        "FILE:4: evaluate.environments.0: no environment",
        "'craft'",
    ),
    "evaluate environments text": (
        STREAM + "evaluate: {environments: craft}",
        "FILE:2: evaluate.environments: 'craft' is not a list",
        "",
    ),
    "decoding": (
        STREAM + "evaluate: {decoding: gredy}",
        "FILE:2: evaluate.decoding: 'gredy' is not allowed",
        "'greedy'",
    ),
    "dtype": ("dtype: float16\n" + STREAM, "FILE:1: dtype: 'float16' is not", "float32"),
    "device": ("device: gpu\n" + STREAM, "FILE:1: device: 'gpu' is not allowed", "cuda"),
    "trust": ("trust_remote_code: 7x\n" + STREAM, "FILE:1: trust_remote_code: '7x' is not", ""),
    "train": ("stream: [{environment: maze, train: easy}]", "FILE:1: stream.0.train: 'easy'", ""),
    "train null": (
        "stream: [{environment: maze, train: }]",
        "FILE:1: stream.0.train: null is not a mapping",
        "",
    ),
    "train tasks": (
        "stream: [{environment: maze, train: {tasks: 0}}]",
        "FILE:1: stream.0.train.tasks: 0 is too small",
        "",
    ),
    "difficulty": (
        "stream: [{environment: maze, train: {difficulty: [easy, true]}}]",
        "FILE:1: stream.0.train.difficulty: true is neither",
        "",
    ),
    "no difficulty": (
        "stream: [{environment: maze, train: {difficulty: []}}]",
        "FILE:1: stream.0.train.difficulty: the list is empty",
        "",
    ),
    "stage name": (
        "stream: [{environment: maze, name: [a]}]",
        "FILE:1: stream.0.name: ['a'] is not text",
        "",
    ),
    "setting type": (
        "stream:\n- environment:\n    name: maze\n    size: big\n",
        "FILE:4: stream.0.environment.size: 'big' is not a whole number",
        "",
    ),
    "setting number": (
        "stream: [{environment: {name: maze, ratio: high}}]",
        "FILE:1: stream.0.environment.ratio: 'high' is not a number",
        "",
    ),
    "setting enum": (
        "stream: [{environment: {name: maze, colour: BLEU}}]",
        "FILE:1: stream.0.environment.colour: 'BLEU' is not allowed",
        "'BLUE'",
    ),
    "setting literal": (
        "stream: [{environment: {name: maze, mode: nigth}}]",
        "FILE:1: stream.0.environment.mode: 'nigth' is not allowed",
        "'night'",
    ),
    "setting nested": (
        "stream: [{environment: {name: maze, door: {locked: 7x}}}]",
        "FILE:1: stream.0.environment.door.locked: ",
        "7x",
    ),
    "setting nested, not a mapping": (
        "stream: [{environment: {name: maze, door: 3}}]",
        "FILE:1: stream.0.environment.door: 3 is not a mapping",
        "",
    ),
    "setting in a list": (
        "stream: [{environment: {name: maze, doors: [{locked: 7x}]}}]",
        "FILE:1: stream.0.environment.doors",
        "7x",
    ),
    "setting optional": (
        "stream: [{environment: {name: maze, limit: few}}]",
        "FILE:1: stream.0.environment.limit: 'few' is not a whole number or null",
        "",
    ),
    "setting refused": (
        "stream:\n- environment: {name: maze, size: 0}\n",
        "FILE:2: stream.0.environment: size is 0, the least is 1",
        "",
    ),
    "strategy refused": (
        STREAM + "strategy: {name: replay, fraction: 7}",
        "FILE:2: strategy: fraction is 7.0",
        "between 0 and 1",
    ),
    "label twice": (
        "stream:\n- maze\n- environment: {name: maze, size: 4}\n",
        "FILE:3: stream.1.environment: 'maze' already stands for the environment at stream.0",
        "`label`",
    ),
    "label of another": (
        STREAM + "evaluate: {environments: [{name: craft, label: maze}]}",
        "FILE:2: evaluate.environments.0: 'maze' already stands",
        "`label`",
    ),
    "interpolation": (
        "seed: ${sed}\n" + STREAM,
        "FILE:1: seed: Interpolation key 'sed'",
        "'seed'?",
    ),
    "interpolation in a list": (
        "stream:\n- maze\n- environment: maze\n  updates: ${n}\n",
        "FILE:4: stream.1.updates: Interpolation key 'n'",
        "",
    ),
    "interpolation syntax": ("seed: ${\n" + STREAM, "FILE:1: seed: ", ""),
    "interpolation circle": ("seed: ${seed}\n" + STREAM, "FILE:1: seed: Recursive", ""),
    "interpolation type": ("seed: ${nope:1}\n" + STREAM, "FILE:1: seed: Unsupported", "nope"),
    "missing value": ("seed: ???\n" + STREAM, "FILE:1: seed: ??? stands for a value", ""),
    "plugins text": ("plugins: a.py\n" + STREAM, "FILE:1: plugins: 'a.py' is not a list", ""),
    "plugins number": ("plugins: [[1]]\n" + STREAM, "FILE:1: plugins", ""),
    "plugins null": ("plugins: [null]\n" + STREAM, "FILE:1: plugins", "null"),
    "setting in a list of texts": (
        "stream: [{environment: {name: maze, door: {keys: [[1]]}}}]",
        "FILE:1: stream.0.environment.door",
        "holds a value of the wrong kind",
    ),
    "plugin module": ("plugins:\n- no_such\n" + STREAM, "FILE:2: plugins.0: plugin 'no_such'", ""),
    "plugin file": ("plugins: [gone.py]\n" + STREAM, "FILE:1: plugins.0: ", "does not exist"),
    "grpo text": (STREAM + "grpo: fast", "FILE:2: grpo: 'fast' is not a mapping", ""),
    "grpo null": (STREAM + "grpo:", "FILE:2: grpo: null is not a mapping", ""),
    "grpo controlled": (
        STREAM + "grpo:\n  max_steps: 3\n",
        "FILE:3: grpo.max_steps: cannot be set",
        "`updates`",
    ),
    "grpo pattern": (STREAM + "grpo: {vllm_mode: server}", "FILE:2: grpo.vllm_mode: cannot", ""),
    "grpo least": (
        STREAM + "grpo: {num_generations: 1}",
        "FILE:2: grpo.num_generations: 1 is too small",
        "",
    ),
    "grpo nan": (STREAM + "grpo: {learning_rate: .nan}", "FILE:2: grpo.learning_rate: nan", ""),
    "grpo loss": (STREAM + "grpo: {loss_type: drgrpo}", "FILE:2: grpo.loss_type", "'dr_grpo'"),
    "grpo groups": (
        STREAM + "grpo: {num_generations: 6}",
        "FILE:2: grpo.num_generations: grpo.generation_batch_size (32) is not a multiple",
        "30 or 36",
    ),
    "grpo small batch": (
        STREAM + "grpo: {generation_batch_size: 4}",
        "FILE:2: grpo.generation_batch_size: grpo.generation_batch_size (4)",
        "to 8.",
    ),
    "lora controlled": (STREAM + "lora: {inference_mode: true}", "FILE:2: lora.inference_mode", ""),
    "lora rank": (STREAM + "lora: {r: 0}", "FILE:2: lora.r: 0 is too small", "1"),
    "lora dropout": (
        STREAM + "lora: {lora_dropout: 0.1}",
        "FILE:2: lora.lora_dropout: must be 0",
        "",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_the_file(complain: Callable[..., str], name: str) -> None:
    text, start, says = MISTAKES[name]
    message = complain(text)
    assert message.startswith(start)
    assert says in message


OVERRIDES: dict[str, tuple[list[str], str]] = {
    "no value": (["seed"], "override 'seed': is not of the form key=value"),
    "no key": (["=3"], "override '=3': is not of the form"),
    "option": (["--seed"], "override '--seed': is not of the form"),
    "dots": (["evaluate..tasks=3"], "override 'evaluate..tasks=3': is not of the form"),
    "syntax": (["seed=[1"], "override 'seed=[1': the value cannot be read"),
    "interpolation": (["seed=${"], "override 'seed=${': the value cannot be read"),
    "type": (["seed=x"], "override 'seed=x': 'x' is not a whole number"),
    "empty": (["seed="], "override 'seed=': null is not a whole number"),
    "last wins": (["seed=1", "seed=x"], "override 'seed=x': 'x' is not"),
    "unknown": (["sede=1"], "override 'sede=1': unknown key. Did you mean 'seed'?"),
    "unknown above": (["evalaute.taks=1"], "override 'evalaute.taks=1': evalaute: unknown key"),
    "unknown below": (["evaluate.taks=1"], "override 'evaluate.taks=1': unknown key. Did you"),
    "no item": (["stream.2.updates=1"], "override 'stream.2.updates=1': stream is a list and has"),
    "not an index": (["stream.x=1"], "override 'stream.x=1': stream is a list and has no item 'x'"),
    "into a number": (["seed.a=1"], "override 'seed.a=1': seed is 0, which has no key 'a'"),
    "missing target": (["seed=${sed}"], "override 'seed=${sed}': Interpolation key 'sed'"),
    "name": (["strategy=replya"], "override 'strategy=replya': no strategy is called 'replya'"),
    "refused": (
        ["strategy=replay", "strategy.fraction=7"],
        "override 'strategy.fraction=7': strategy: fraction is 7.0",
    ),
    "below the file's": (
        ["stream.0.environment.size=0"],
        "override 'stream.0.environment.size=0': stream.0.environment: size is 0",
    ),
    "label": (
        ["stream=[maze, {environment: {name: maze, size: 2}}]"],
        "override 'stream=[maze, {environment: {name: maze, size: 2}}]': stream.1.environment: ",
    ),
    "grpo": (
        ["grpo.num_generations=5"],
        "override 'grpo.num_generations=5': grpo.generation_batch_size (32) is not a multiple",
    ),
    "null": (["adapter=null"], "override 'adapter=null': null is neither"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_mistakes_in_overrides(complain: Callable[..., str], name: str) -> None:
    overrides, start = OVERRIDES[name]
    assert complain("seed: 0\nstream:\n- environment: maze\n", *overrides).startswith(start)


def test_the_file_is_not_blamed_on_an_override(complain: Callable[..., str]) -> None:
    message = complain("stream: [{updates: 3}]", "stream.0.updates=4")
    assert message.startswith("FILE:1: stream.0: `environment` is missing")


# Files that cannot be read


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file\. There is no \.yaml file in "):
        load(tmp_path / "stream.yaml")
    (tmp_path / "stream.yaml").touch()
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean 'stream.yaml'\?"):
        load(tmp_path / "steam.yaml")
    with pytest.raises(ConfigError, match=r"There is no directory .*gone either"):
        load(tmp_path / "gone" / "stream.yaml")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").touch()
    with pytest.raises(ConfigError, match=r"is a directory.*In it: a\.yaml"):
        load(tmp_path)


def test_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        load(tmp_path / "stream.yaml")


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_bytes(b"seed: 1\n# caf\xe9\nstream: [maze]\n")
    with pytest.raises(ConfigError, match=r"stream\.yaml:2: is not UTF-8 text \(byte 0xe9\)"):
        load(path)


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_bytes(b"\xef\xbb\xbfstream: [maze]\r\n")
    assert load(path, (), made_plugins())[0].stream[0].environment.name == "maze"


# Models


def test_model_directory(read: Load, complain: Callable[..., str], tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    model.mkdir()
    text = "model: tiny\n" + STREAM
    assert "tiny has no config.json, no weights (" in complain(text)
    (model / "adapter_config.json").touch()
    assert "It is a LoRA adapter alone" in complain(text)
    (model / "config.json").touch()
    assert "tiny has no weights (" in complain(text)
    (model / "model.safetensors").touch()
    message = complain(text)
    assert message.startswith("FILE:1: model: ")
    assert "tiny has no tokenizer (" in message
    (model / "tokenizer.json").touch()
    config = read(text)
    assert config.model == str(model)
    assert read(to_yaml(config)).model == str(model)


def test_model_is_a_file(complain: Callable[..., str]) -> None:
    message = complain("model: stream.yaml\n" + STREAM)
    assert message.startswith("FILE:1: model: 'stream.yaml' is a file")


# Plugins


def test_plugin_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "guess.py").write_text(
        PLUGIN.replace('"maze"', '"guess"').replace('"craft"', '"guess2"')
    )
    path = tmp_path / "sub" / "stream.yaml"
    path.write_text("plugins: [guess.py]\nstream: [{environment: {name: guess, size: 3}}]\n")
    monkeypatch.chdir(tmp_path)
    config, plugins = load(Path("sub/stream.yaml"), (), made_plugins())
    assert config.plugins == (str(tmp_path / "sub" / "guess.py"),)
    # Another configuration may name the same file, and elsewhere the path still holds.
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert differences(config, load(tmp_path / "config.yaml", (), plugins)[0]) == []
    again = load(tmp_path / "config.yaml", (), made_plugins())[0]
    assert to_yaml(again) == to_yaml(config)


def test_broken_plugin_file(complain: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import no_such_module\n")
    message = complain("seed: 1\nplugins:\n- bad.py\n" + STREAM)
    assert message.startswith("FILE:3: plugins.0: plugin ")
    assert "no_such_module" in message


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("3", "not a dataclass"),
        ("dataclass(type('C', (), {'__annotations__': {'name': str}, 'name': 'a'}))", "'name'"),
        ("dataclass(type('C', (), {'__annotations__': {'f': object()}, 'f': 1}))", "cannot be"),
    ],
)
def test_broken_settings_class(read: Load, tmp_path: Path, config: str, says: str) -> None:
    (tmp_path / "odd.py").write_text(
        "from dataclasses import dataclass\nimport contrail\n"
        f"class Odd(contrail.Strategy):\n    Config = {config}\n"
        "@contrail.hookimpl\ndef contrail_strategies(register):\n    register('odd', Odd)\n"
    )
    with pytest.raises(PluginError, match="plugin 'odd': the strategy 'odd'") as caught:
        read("plugins: [odd.py]\nstrategy: odd\n" + STREAM)
    assert says in str(caught.value)


def test_required_setting(complain: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "need.py").write_text(
        "from dataclasses import dataclass\nimport contrail\n"
        "@dataclass\nclass C:\n    path: str\n"
        "class Need(contrail.Strategy):\n    Config = C\n"
        "@contrail.hookimpl\ndef contrail_strategies(register):\n    register('need', Need)\n"
    )
    message = complain("plugins: [need.py]\nstrategy: need\n" + STREAM)
    assert message.startswith("FILE:2: strategy.path: needs a value")


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
        "import sys, contrail.config; "
        "print([name for name in ('torch', 'trl', 'peft', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
