"""The bridges, with the real libraries; each is skipped where its extra is missing."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from checked import passes, skip
from gymnasium.utils.env_checker import check_env
from scored import Scored

import contrail
import contrail.check
from contrail import Observation, Step, Task
from contrail.bridges import as_gymnasium, as_trl, trl_rows
from contrail.check import episodes
from contrail.envs.gymnasium.environment import Gymnasium, GymnasiumConfig
from contrail.envs.textcraft.environment import TextCraft, TextCraftConfig
from contrail.errors import ConfigError, ContrailError

WAYS = ["left", "down", "right", "up"]
TAXI = ["south", "north", "east", "west", "pickup", "dropoff"]


# gymnasium, outwards


def test_as_gymnasium() -> None:
    world = as_gymnasium("textcraft", TextCraftConfig(depths=[1]))
    check_env(world, skip_render_check=True)
    _, info = world.reset(options={"task": "acacia_planks/0"})
    text, reward, *_ = world.step("nonsense")
    assert reward == 0
    assert text.startswith("Not an action: use get, craft or inventory.")
    for action in TextCraft().expert(world.tasks["acacia_planks/0"]):
        assert action in info["admissible_commands"]
        text, reward, terminated, truncated, info = world.step(action)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
    assert world.reset(seed=3) == world.reset(seed=3)
    with pytest.raises(ConfigError, match="Did you mean 'acacia_planks/0'"):
        world.reset(options={"task": "acacia_plank/0"})


def test_a_turn_too_many_is_truncated() -> None:
    world = as_gymnasium("textcraft")
    world.environment.max_turns = 2
    world.reset(seed=0)
    assert world.step("inventory")[3] is False
    assert world.step("inventory")[3] is True


def test_what_ends_too_early_is_scored() -> None:
    world = as_gymnasium(Scored)
    world.reset(options={"task": "train/1"})
    steps = [world.step("on") for _ in range(5)]
    assert [(step[1], step[3], step[4]["success"]) for step in steps[:4]] == [(0, False, False)] * 4
    assert (steps[4][1], steps[4][3], steps[4][4]["success"]) == (5, True, True)
    assert steps[4][4]["score"] == 5
    acted = as_trl(Scored)()
    for count in (2, 5):  # TRL ends the first
        acted.reset("train/1")
        for _ in range(count):
            acted.act("on")
        assert acted.get_reward() == acted.get_reward() == count
        assert acted.act("on") == "The episode is over."


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "walks_elsewhere", skip)  # which knows nothing of this name
    gymnasium.register("contrail/Back-v0", entry_point=lambda **_: as_gymnasium("textcraft"))
    try:
        passes(Gymnasium, GymnasiumConfig("contrail/Back-v0"), {"expert", "process"})
    finally:
        del gymnasium.registry["contrail/Back-v0"]


# TRL


def test_as_trl() -> None:
    cls = as_trl("textcraft", TextCraftConfig(depths=[1]))
    rows = trl_rows("textcraft", "train", TextCraftConfig(depths=[1]))
    assert rows[0]["prompt"][0] == {"role": "system", "content": TextCraft.system_prompt}
    one, other = cls(), cls()
    assert one.reset(**rows[0]) == other.reset(**rows[0])
    (task,) = (t for t in TextCraft().tasks("train") if t.id == rows[0]["task"])
    plan = TextCraft().expert(task)
    assert plan[0] in one.act("nonsense")  # the list of actions
    assert one.get_reward() == 0
    for action in plan:
        said = one.act(action)
    assert said.endswith("The episode is over.")
    assert one.get_reward() == 1
    assert one.act(plan[0]) == "The episode is over."
    assert one.get_reward() == 1
    one.reset(**rows[1])
    assert one.get_reward() == 0


class Closing(contrail.Environment):
    closed = 0
    max_turns = 1

    def tasks(self, split: str) -> list[Task]:
        return [Task("closing", split, 0, split)]

    def reset(self, task: Task) -> Observation:
        return Observation("Go.")

    def step(self, action: str) -> Step:
        return Step(Observation("On."), reward=0.5)

    def close(self) -> None:
        Closing.closed += 1


class BothSplits(Closing):
    """Task 0 of one split is another than that of the other."""

    def tasks(self, split: str) -> list[Task]:
        return [Task("both", "0", 0, split)]

    def reset(self, task: Task) -> Observation:
        return Observation(task.split)

    def close(self) -> None:
        pass


def test_ids_that_stand_in_both_splits() -> None:
    one = as_trl(BothSplits)()
    for split in ("train", "test"):
        (row,) = trl_rows(BothSplits, split)
        assert one.reset(**row) == split
    with pytest.raises(ConfigError, match="both splits have a task '0'"):
        one.reset(task="0")
    with pytest.raises(ConfigError, match="Did you mean 'test'"):
        one.reset(task="0", split="tets")


def test_what_comes_before_the_reset() -> None:
    one = as_trl(BothSplits)()
    for call in (lambda: one.act("go"), one.get_reward):
        with pytest.raises(ContrailError, match="call reset"):
            call()
    with pytest.raises(gymnasium.error.ResetNeeded):
        as_gymnasium(BothSplits).step("go")


def test_trl_closes_nothing_so_the_class_does() -> None:
    one = as_trl(Closing)()
    one.reset(task="test")
    assert one.act("go") == "On.\nThe episode is over."  # max_turns
    assert one.get_reward() == 0.5
    del one
    assert Closing.closed == 1


def test_trl_takes_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPOTrainer itself finds the tool, its schema and the reward."""
    from contrail.plugins.models.smollm2 import tiny_random

    import torch  # isort: skip
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_random()))
    templates = Path(inspect.getfile(GRPOTrainer)).parent.parent / "chat_templates"
    tokenizer.chat_template = (templates / "qwen3.jinja").read_text()
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(tiny_random())),
        processing_class=tokenizer,
        environment_factory=as_trl("textcraft"),
        train_dataset=Dataset.from_list(trl_rows("textcraft", "train")[:2]),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=8,
            max_steps=1,
            use_cpu=True,
            report_to=[],
            bf16=False,
        ),
    )
    assert [tool.__name__ for tool in trainer.tools] == ["act"]
    trainer.train()
    assert "rewards/TextCraft/mean" in {key for row in trainer.state.log_history for key in row}


def test_the_example_of_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "environments.md"
    (example,) = re.findall(
        r"```python\n(from contrail\.bridges import as_gymnasium.*?)```",
        page.read_text(),
        re.DOTALL,
    )
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["text"].startswith("Got ")
    assert names["factory"]().reset(**names["rows"][0]).startswith("Crafting commands:")
