"""What a key at the wrong place is answered: its right place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from configs import STREAM

# Keys that belong elsewhere: what is written, and the place that the answer names.
ELSEWHERE: dict[str, str] = {
    "learning_rate: 1e-4": "grpo.learning_rate",
    "r: 8": "lora.r",
    "tasks: 4": "evaluate.tasks",
    "updates: 4": "stream.N.updates",
    "train: {difficulty: easy}": "stream.N.train.difficulty",
    "difficulty: easy": "stream.N.train.difficulty",
    "max_turns: 4": "stream.N.environment.max_turns",
    "size: 4": "stream.N.environment.size",
    "fraction: 0.5": "strategy.fraction",
    "learningrate: 1": "grpo.learning_rate",
    "grpo: {r: 8}": "lora.r",
    "grpo: {updates: 8}": "stream.N.updates",
    "lora: {learning_rate: 8}": "grpo.learning_rate",
    "evaluate: {seed: 8}": "seed",
    "keep: 3": "checkpoint.keep",
    "evaluate: {max_context: 8}": "max_context",
}


@pytest.mark.parametrize("written", ELSEWHERE)
def test_a_key_that_belongs_elsewhere(complain: Callable[..., str], written: str) -> None:
    message = complain(f"stream: [maze]\nstrategy: replay\n{written}\n")
    assert message.startswith("FILE:3: ")
    assert f": unknown key. Did you mean '{ELSEWHERE[written]}'?" in message


def test_a_setting_of_another_plugin(complain: Callable[..., str]) -> None:
    message = complain("stream: [maze]\nstrategy: {name: sequential, fraction: 0.5}\n")
    assert "There are no settings here. It is a setting of the strategy 'replay'." in message
    message = complain("stream: [maze]\nfraction: 0.5\n")
    assert message.endswith("It is a setting of the strategy 'replay'.")


def test_a_key_of_another_level_of_a_stage(complain: Callable[..., str]) -> None:
    message = complain("stream:\n- maze\n- environment: maze\n  difficulty: easy\n")
    assert message.startswith(
        "FILE:4: stream.1.difficulty: unknown key. Did you mean 'stream.1.train.difficulty'?"
    )
    message = complain("stream:\n- environment: {name: maze, updates: 3}\n")
    assert message.startswith(
        "FILE:2: stream.0.environment.updates: unknown key. Did you mean 'stream.0.updates'?"
    )


def test_overrides_of_keys_that_belong_elsewhere(complain: Callable[..., str]) -> None:
    message = complain(STREAM, "learning_rate=1e-4")
    assert message == (
        "override 'learning_rate=1e-4': unknown key. Did you mean 'grpo.learning_rate'?"
    )
    message = complain(STREAM, "train.difficulty=easy")
    assert message == (
        "override 'train.difficulty=easy': train: unknown key. Did you mean "
        "'stream.N.train.difficulty'? N: a stage, from 0; on the command line * for all."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            STREAM + "strategies: [replay]\n",
            "strategies: unknown key. It is one of `contrail compare`'s.",
        ),
        (
            "environments: [maze]\nstrategies: [replay]\n",
            "unknown key. It is one of `contrail study`'s.",
        ),
    ],
)
def test_a_key_of_another_command(complain: Callable[..., str], text: str, said: str) -> None:
    assert complain(text).endswith(said)


def test_environments_beside_a_stream_are_no_study(complain: Callable[..., str]) -> None:
    said = complain(STREAM + "environments: [maze]\n")
    assert "Did you mean 'evaluate.environments'?" in said
