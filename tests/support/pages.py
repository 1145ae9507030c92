"""Runs made by hand, with episode logs, for the tests of report.html."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import make_result
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

STAGES = (("babyai",), ("textcraft",))
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    "</script><!-- \x1b[31mred\x1b[0m \x07 \u202egnp.exe \u05e9\u05dc\u05d5\u05dd "
    "\U0001f600 [bold]brackets[/bold] $x^2$ $$\\frac$$ \\(y\\) &amp; \u2028 \ud800"
)

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
LEFT, RIGHT = ([LETTERS.index(letter) for letter in word] for word in ("left", "right"))
Turns = Callable[[int, random.Random, bool], list[dict[str, Any]]]


def chosen_turns(row: int, rng: random.Random, success: bool) -> list[dict[str, Any]]:
    """Return one turn with two candidates."""
    logprob = math.log(0.9 if success else 0.4)
    other = math.log(0.1 if success else 0.6)
    return [
        turn("You stand in a hall.", "left", choices=[LEFT, RIGHT], choice=0,
             choice_logprobs=[round(logprob, 4), round(other, 4)], reward=float(success))
    ]  # fmt: skip


def turn(observation: str, text: str, **more: Any) -> dict[str, Any]:
    """Return a turn as the log has it."""
    plain = {"action": text, "valid": True, "reward": 0.0, "choices": None, "choice": None}
    return {"observation": observation, "text": text, **plain, **more}


def record(environment: str, task: str, turns: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return an episode as the log has it; each turn is two tokens seen, and its own written."""
    ids: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    for item in turns:
        own = (
            item.pop("ids", [9, 9]) if item["choices"] is None else item["choices"][item["choice"]]
        )
        ids += [1, 2, *own]
        mask += [0, 0, *[1] * len(own)]
        logprobs += item.pop("logprobs", [-0.1] * len(own)) if item["choices"] is None else [
            item.get("choice_logprobs", [-0.1] * 9)[item["choice"]]
        ]  # fmt: skip
    plain = {"split": "test", "difficulty": None, "sample": 0, "success": False, "fault": None}
    return {
        "environment": environment,
        "task": task,
        **plain,
        "reward": sum(item["reward"] for item in turns),
        "ended": "terminated",
        "turns": turns,
        "token_ids": ids,
        "mask": mask,
        "logprobs": logprobs,
        **more,
    }


def make_run(
    directory: Path,
    *,
    count: int = 2,
    training: int = 40,
    turns: Turns = chosen_turns,
    name: str = "quick",
    label: str = "babyai",
) -> dict[str, Any]:
    """Write a finished run with two stages; return its result.

    Args:
        directory: of the run.
        count: environments, two or more.
        training: training episodes of each stage, 8 an update; two in three are solved.
        turns: makes the turns of an episode, given its row, dice, and whether it is solved.
        name: of the run.
        label: of the first environment.
    """
    result = make_result(count, STAGES) | {"name": name}
    result["curves"] = [
        {env: [[0, 0.25], [5, 0.5]] for env in result["environments"]} for _ in STAGES
    ]
    result = json.loads(json.dumps(result).replace('"babyai"', json.dumps(label)))
    rng = random.Random(0)
    for row, evaluations in enumerate(result["evaluations"]):
        records = []
        for environment, found in evaluations.items():
            for task, score in found["scores"].items():
                success = bool(score)
                more = {} if success else {"failures": {"gives_up": 1}}
                played = turns(row, rng, success)
                difficulty = "hard" if int(task) % 2 else "easy"
                more |= {"success": success, "difficulty": difficulty}
                records.append(record(environment, task, played, **more))
        write_log(directory, f"{row:03d}-evaluate", records)
    for stage, [environment] in enumerate(STAGES, start=1):
        records = []
        for k in range(training):
            success = k % 3 > 0
            more = {"update": k // 8, "success": success, "split": "train"}
            own = label if environment == "babyai" else environment
            records.append(record(own, f"train-{k}", turns(stage, rng, success), **more))
        write_log(directory, f"{stage:03d}-train", records)
    write_tokenizer(directory)
    (directory / "result.json").write_text(json.dumps(result))
    (directory / "config.yaml").write_text("plugins: []\ntrackers: []\n")
    return result


def make_tokenizer() -> Tokenizer:
    """Return a tokenizer of single bytes, with one special token."""
    made = Tokenizer(models.BPE(vocab={letter: k for k, letter in enumerate(LETTERS)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    return made


def write_tokenizer(directory: Path) -> None:
    """Write what leads from a run to its tokenizer."""
    base, checkpoint = directory / "base", directory / "checkpoints" / "000"
    for folder in (base, checkpoint):
        folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save(str(base / "tokenizer.json"))
    named = {"base_model_name_or_path": str(base.resolve())}
    (checkpoint / "adapter_config.json").write_text(json.dumps(named))


def write_log(directory: Path, name: str, records: list[dict[str, Any]]) -> None:
    """Write an episode log."""
    (directory / "episodes").mkdir(parents=True, exist_ok=True)
    with gzip.open(directory / "episodes" / f"{name}.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(json.dumps(item) + "\n" for item in records)
