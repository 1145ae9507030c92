"""Classes for TRL's `environment_factory`, of the kinds that its documentation shows."""

from __future__ import annotations

import random
from typing import Any, Literal


class Wordle:
    """The word is drawn from the global generator; the class says when it is over."""

    def __init__(self) -> None:
        self.reward = 0.0
        self.done = False

    def reset(self, **kwargs: Any) -> str:
        self.word = "".join(random.choice("abcdef") for _ in range(5))
        self.reward = 0.0
        self.done = False
        return f"Guess a word of 5 of the letters a to f. It begins with {self.word[:3]}."

    def guess(self, word: str) -> str:
        """
        Guess the word.

        Args:
            word: The five letters.

        Returns:
            Which letters are right.
        """
        if self.done:
            raise ValueError("The game is over.")
        if len(word) != 5:
            raise ValueError("The word has 5 letters.")
        self.done = word == self.word
        self.reward = float(self.done)
        return "".join("x" if a == b else "." for a, b in zip(word, self.word, strict=True))


def reward_of(environments: list[Any], **kwargs: Any) -> list[float]:
    return [environment.reward for environment in environments]


class Sum:
    """Its rows say what is to be added; it owns its reward, and the model says when it is done."""

    def reset(self, start: int, goal: int, **kwargs: Any) -> None:
        self.value, self.goal = start, goal

    async def add(self, step: int) -> str:
        """
        Add to the counter.

        Args:
            step: What is added.
        """
        self.value += step
        return f"The counter is at {self.value}."

    def get_reward(self) -> float:
        return float(self.value == self.goal)


ROWS = [
    {
        "prompt": [
            {"role": "system", "content": "You are a counter."},
            {"role": "user", "content": f"The counter is at {start}. Bring it to {start + goal}."},
        ],
        "start": start,
        "goal": start + goal,
    }
    for start in range(6)
    for goal in range(1, 5)
]


def rows() -> Any:
    from datasets import Dataset

    return Dataset.from_list(ROWS)


class Lights:
    """All calls can be listed."""

    def reset(self, seed: int = 0, **kwargs: Any) -> str:
        drawn = random.Random(seed)
        self._goal = [drawn.random() < 0.5 for _ in range(8)]
        self._on = [drawn.random() < 0.5 for _ in range(8)]
        if self._goal == self._on:
            self._on[0] = not self._on[0]
        return f"Goal: {self._shown(self._goal)}. Now: {self._shown(self._on)}."

    def flip(self, light: Literal["1", "2", "3", "4", "5", "6", "7", "8"]) -> str:
        """
        Flip a light.

        Args:
            light: Its number.
        """
        self._on[int(light) - 1] = not self._on[int(light) - 1]
        return f"Now: {self._shown(self._on)}."

    @property
    def done(self) -> bool:
        return self._goal == self._on

    def get_reward(self) -> float:
        return float(self.done)

    def _shown(self, lights: list[bool]) -> str:
        return "".join("*" if light else "." for light in lights)


class NoTool:
    def reset(self, **kwargs: Any) -> None: ...

    def act(self, x):  # type: ignore[no-untyped-def]
        return x


class NoReward:
    def reset(self, **kwargs: Any) -> None: ...

    def look(self) -> str:
        """Look around."""
        return ""
