"""Values as simulators have them come out as plain Python values, or are refused by name."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from contrail import Observation, Step, Task


class Level(enum.Enum):
    EASY = "easy"


class TextLevel(str, enum.Enum):  # noqa: UP042 (as authors write it)
    EASY = "easy"


class Number(enum.IntEnum):
    ONE = 1


def task(**values: Any) -> Task:
    return Task(**{"environment": "e", "id": "t", "seed": 1, "split": "train", **values})


def observation(**values: Any) -> Observation:
    return Observation(**{"text": "here", **values})


def step(**values: Any) -> Step:
    return Step(observation(), **values)


TAKEN = [
    (task, "id", np.str_("a"), "a"),
    (task, "id", np.array("a"), "a"),
    (task, "seed", np.int64(3), 3),
    (task, "seed", np.uint8(3), 3),
    (task, "seed", torch.tensor(3), 3),
    (task, "seed", np.array(3), 3),
    (task, "split", np.str_("test"), "test"),
    (task, "difficulty", np.int64(2), 2),
    (task, "difficulty", np.float32(0.5), 0.5),
    (task, "difficulty", np.str_("easy"), "easy"),
    (task, "difficulty", TextLevel.EASY, "easy"),
    (task, "difficulty", Number.ONE, 1),
    (task, "difficulty", torch.tensor(2), 2),
    (task, "difficulty", None, None),
    (observation, "text", np.str_("a"), "a"),
    (observation, "text", TextLevel.EASY, "easy"),
    (observation, "actions", np.array(["a", "b"]), ["a", "b"]),
    (observation, "actions", np.array(["a", "b"], dtype=object), ["a", "b"]),
    (observation, "actions", [np.str_("a"), "b"], ["a", "b"]),
    (observation, "actions", (name for name in "ab"), ["a", "b"]),
    (observation, "actions", {"b": 1, "a": 2}.keys(), ["b", "a"]),
    (observation, "actions", np.array([], dtype=str), []),
    (observation, "actions", None, None),
    (step, "reward", np.float32(0.5), 0.5),
    (step, "reward", np.bool_(True), 1.0),
    (step, "reward", 1, 1.0),
    (step, "reward", torch.tensor(0.5), 0.5),
    (step, "reward", np.array(0.5), 0.5),
    (step, "reward", Fraction(1, 2), 0.5),
    (step, "reward", Decimal("0.5"), 0.5),
    (step, "terminated", np.bool_(True), True),
    (step, "truncated", torch.tensor(False), False),
    (step, "success", np.int64(1), True),
    (step, "valid", 0, False),
]
REFUSED = [
    (task, "id", 3),
    (task, "id", b"a"),
    (task, "id", None),
    (task, "seed", 1.5),
    (task, "seed", "1"),
    (task, "seed", True),
    (task, "seed", np.array([1, 2])),
    (task, "split", 1),
    (task, "difficulty", Level.EASY),
    (task, "difficulty", [1]),
    (task, "difficulty", float("nan")),
    (task, "difficulty", np.array([1, 2])),
    (observation, "text", b"bytes"),
    (observation, "text", None),
    (observation, "text", ["a"]),
    (observation, "actions", "look"),
    (observation, "actions", b"look"),
    (observation, "actions", 3),
    (observation, "actions", np.array("look")),
    (observation, "actions", {"a", "b"}),
    (observation, "actions", frozenset("a")),
    (observation, "actions", ["a", None]),
    (observation, "actions", ["a", 1]),
    (observation, "actions", np.array([["a"], ["b"]])),
    (step, "reward", "1"),
    (step, "reward", None),
    (step, "reward", [1.0]),
    (step, "reward", np.array([1.0, 2.0])),
    (step, "reward", 1j),
    (step, "terminated", "no"),
    (step, "success", None),
    (step, "success", 2),
    (step, "valid", np.array([True, False])),
]


@pytest.mark.parametrize(("make", "field", "value", "wanted"), TAKEN)
def test_taken(make: Any, field: str, value: Any, wanted: Any) -> None:
    made = make(**{field: value})
    assert getattr(made, field) == wanted
    assert type(getattr(made, field)) is type(wanted)
    assert json.loads(json.dumps(asdict(made))) == asdict(made)


@pytest.mark.parametrize(("make", "field", "value"), REFUSED)
def test_refused(make: Any, field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{make.__name__.title()}\.{field}.* of type .*must be"):
        make(**{field: value})


def test_an_observation_has_a_list_of_its_own() -> None:
    """What an adapter does to it must not reach the environment's."""
    actions = ["a", "b"]
    made = observation(actions=actions)
    assert made.actions == actions
    assert made.actions is not actions
