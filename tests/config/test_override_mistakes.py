"""What every mistake in overrides is answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
    "number for text": (["name=1e5"], "override 'name=1e5': 100000.0 is no text. Write what it is"),
    "flag for text": (["stream.0.name=on"], "override 'stream.0.name=on': true is no text."),
    "number for flag": (["evaluate.drift=3"], "override 'evaluate.drift=3': 3 is not true or"),
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
    "grpo unknown": (
        ["grpo.learning_rat=1"],
        "override 'grpo.learning_rat=1': unknown key. Did you mean 'learning_rate'?",
    ),
    "grpo unknown in a mapping": (
        ["grpo={num_generation: 2, generation_batch_size: 4}"],
        "override 'grpo={num_generation: 2, generation_batch_size: 4}': grpo.num_generation: unk",
    ),
    "grpo batch": (
        ["grpo={epsilon_high: 0.3, generation_batch_size: 4}"],
        "override 'grpo={epsilon_high: 0.3, generation_batch_size: 4}': "
        "grpo.generation_batch_size: grpo.gen",
    ),
    "grpo number": (
        ["grpo.learning_rate=fast"],
        "override 'grpo.learning_rate=fast': 'fast'",
    ),
    "grpo bool": (
        ["grpo.num_generations=true"],
        "override 'grpo.num_generations=true': true",
    ),
    "grpo fraction": (
        ["grpo.num_iterations=1.5"],
        "override 'grpo.num_iterations=1.5': 1.5 ",
    ),
    "lora number": (["lora.r=many"], "override 'lora.r=many': 'many' is not a whole number."),
    "lora unknown": (
        ["lora.lora_alfa=3"],
        "override 'lora.lora_alfa=3': unknown key. Did you mean 'lora_alpha'?",
    ),
    "lora choice": (["lora.bias=some"], "override 'lora.bias=some': 'some' is not allowed."),
    "all stages": (
        ["stream.*.updates=x"],
        "override 'stream.*.updates=x': stream.0.updates: 'x' is not a whole number",
    ),
    "all of a mapping": (["evaluate.*=1"], "override 'evaluate.*=1': unknown key. Known: tasks"),
    "all of none": (
        ["stream=[]", "stream.*.updates=1"],
        "override 'stream.*.updates=1': stream is a list and has no item '*'. Items: none",
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
