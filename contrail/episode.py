"""One play of one task, as token ids and as what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from contrail.environment import Task


@dataclass
class Turn:
    """One decision of the model.

    `prompt`: token ids the interface put before the model's. `written`: token ids the model wrote.
    `choices`: token ids of each candidate, or None for free text. `choice`: the place of the
    chosen one. `logprobs`: under the distribution that sampled: one a written token, or one for
    the whole choice, normalised over the candidates. `entropies`: of that distribution, likewise.
    `info`: that of the environment's `Step`.
    """

    prompt: list[int]
    written: list[int]
    logprobs: list[float]
    entropies: list[float]
    choices: list[list[int]] | None = None
    choice: int | None = None
    observation: str = ""
    text: str = ""
    action: str | None = None
    valid: bool = True
    reward: float = 0.0
    info: dict[str, float] = field(default_factory=dict)


@dataclass
class Episode:
    """One play of one task.

    `environment`: the name of its column in R. `ended`: "terminated", "truncated" (by the
    environment), "max_turns", "max_context" or "fault" (the environment raised; `fault` says what).
    """

    environment: str
    task: Task
    sample: int
    turns: list[Turn] = field(default_factory=list)
    ended: str = ""
    success: bool = False
    fault: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Episode:
        """Return the opposite of `dataclasses.asdict`."""
        turns = [Turn(**turn) for turn in values["turns"]]
        return cls(**{**values, "task": Task(**values["task"]), "turns": turns})

    @property
    def reward(self) -> float:
        """The sum of the steps' rewards."""
        return sum(turn.reward for turn in self.turns)

    @property
    def info(self) -> dict[str, float]:
        """By name, the last value that a step's `info` has given."""
        return {name: value for turn in self.turns for name, value in turn.info.items()}

    @property
    def token_ids(self) -> list[int]:
        """All token ids, from the first to the last."""
        return [token for turn in self.turns for token in (*turn.prompt, *turn.written)]

    @property
    def mask(self) -> list[int]:
        """1 for each token id the model wrote, 0 for the others."""
        return [
            bit for turn in self.turns for bit in [0] * len(turn.prompt) + [1] * len(turn.written)
        ]

    @property
    def generated_tokens(self) -> int:
        """How many token ids the model wrote."""
        return sum(len(turn.written) for turn in self.turns)

    @property
    def logprobs(self) -> list[float]:
        """Log-probabilities of the decisions, in order: tokens, or whole choices."""
        return [value for turn in self.turns for value in turn.logprobs]

    @property
    def entropies(self) -> list[float]:
        """Entropies of the decisions, in order, in nats."""
        return [value for turn in self.turns for value in turn.entropies]

    def record(self) -> dict[str, Any]:
        """Return the episode as JSON values, for the run directory."""
        return {
            "environment": self.environment,
            "task": self.task.id,
            "split": self.task.split,
            "difficulty": self.task.difficulty,
            "sample": self.sample,
            "reward": self.reward,
            "success": self.success,
            "ended": self.ended,
            "fault": self.fault,
            "turns": [
                {
                    "observation": turn.observation,
                    "text": turn.text,
                    "action": turn.action,
                    "valid": turn.valid,
                    "reward": turn.reward,
                    "choices": turn.choices,
                    "choice": turn.choice,
                    **({"info": turn.info} if turn.info else {}),
                }
                for turn in self.turns
            ],
            "token_ids": self.token_ids,
            "mask": self.mask,
            "logprobs": [round(value, 6) for value in self.logprobs],
        }
