"""What every mistake in stream.yaml is answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from configs import STREAM

# Each mistake: the file, and what the one-line answer starts with and says.
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
    "shift a number": (
        "stream: [{environment: {name: maze, shift: 3}}]",
        "FILE:1: stream.0.environment.shift: 3 is not a mapping",
        "shift: {alias: 1}",
    ),
    "shift key": (
        "stream: [{environment: {name: maze, shift: {alais: 1}}}]",
        "FILE:1: stream.0.environment.shift.alais: unknown key",
        "'alias'",
    ),
    "alias a text": (
        "stream: [{environment: {name: maze, shift: {alias: seven}}}]",
        "FILE:1: stream.0.environment.shift.alias: 'seven' is not a whole number",
        "",
    ),
    "alias below 0": (
        "stream: [{environment: {name: maze, shift: {alias: -1}}}]",
        "FILE:1: stream.0.environment.shift.alias: -1 is too small",
        "",
    ),
    "alias without forms": (
        "stream: [{environment: {name: maze, shift: {alias: 1}}}]",
        "FILE:1: stream.0.environment.shift.alias: the actions of 'maze' cannot be renamed",
        "`forms`",
    ),
    "actions sometimes": (
        "stream: [{environment: {name: maze, shift: {actions: sometimes}}}]",
        "FILE:1: stream.0.environment.shift.actions: 'sometimes' is not",
        "every",
    ),
    "too many distractions": (
        "stream: [{environment: {name: maze, shift: {distract: 99}}}]",
        "FILE:1: stream.0.environment.shift.distract: 99 is too large",
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
    "model path": ("model: ./gone\n" + STREAM, "FILE:1: model: there is no run ./gone", ""),
    "one plugin": (
        STREAM + "plugins: x.py",
        "FILE:2: plugins: 'x.py' is not a list (of text). Write `plugins: [x.py]`.",
        "",
    ),
    "one tracker": (STREAM + "trackers: wandb", "FILE:2: trackers: ", "Write `trackers: [wandb]`"),
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
    "grpo without effect": (
        STREAM + "grpo: {torch_compile: true}",
        "FILE:2: grpo.torch_compile: unknown key",
        "that act in contrail",
    ),
    "grpo of TRL's own loop": (
        STREAM + "grpo: {bf16: true}",
        "FILE:2: grpo.bf16: cannot",
        "`dtype`",
    ),
    "grpo choice": (
        STREAM + "grpo: {lr_scheduler_type: konstant}",
        "FILE:2: grpo.lr_scheduler_type: 'konstant' is not allowed",
        "Did you mean 'constant'?",
    ),
    "grpo switch": (STREAM + "grpo: {scale_rewards: 3}", "FILE:2: grpo.scale_rewards: 3", "true"),
    "lora controlled": (STREAM + "lora: {inference_mode: true}", "FILE:2: lora.inference_mode", ""),
    "lora model": (
        STREAM + "lora: {base_model_name_or_path: x}",
        "FILE:2: lora.base_model_name_or_path: cannot be set",
        "`model`",
    ),
    "lora list": (
        STREAM + "lora: {target_modules: {a: 1}}",
        "FILE:2: lora.target_modules: {a: 1} is not text or a list",
        "a list",
    ),
    "lora list of numbers": (
        STREAM + "lora: {exclude_modules: [[1]]}",
        "FILE:2: lora.exclude_modules",
        "",
    ),
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
