"""One play of one task: its token ids, its turns and its outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from contrail.environment import Task


@dataclass
class Turn:
    """One decision of the model."""

    prompt: list[int]
    """Token ids before the model's, from the adapter and the chat template: those that are new
    since the turn before, or all, from the first one, if the turn is a restart."""
    written: list[int]
    """Token ids that the model wrote."""
    logprobs: list[float]
    """Under the distribution that was sampled: one per written token, or one for a whole choice,
    normalised over the candidates."""
    entropies: list[float]
    """The entropies of that distribution, in nats, one per log-probability."""
    choices: list[list[int]] | None = None
    """Token ids of each candidate; None for free text."""
    choice: int | None = None
    """The index of the chosen candidate."""
    observation: str = ""
    """The user message before the turn."""
    text: str = ""
    """The model's answer."""
    action: str | None = None
    """The action that the adapter read in the text; None if there was none."""
    valid: bool = True
    """False if there was no action, or the environment could not interpret it."""
    reward: float = 0.0
    info: dict[str, float] = field(default_factory=dict)
    """The `info` of the environment's `Step`."""
    restart: bool = False
    """Whether the turn has a context of its own: the tokens of earlier turns are not before it."""
    cut_off: bool = False
    """Whether free text reached the largest number of tokens before its end."""
    penalty: float = 0.0
    """Subtracted from the reward in training; see `answers` in stream.yaml."""
    left_out: bool = False
    """Whether training learns nothing from the turn's decisions; see `answers.cut_off`."""
    choice_logprobs: list[float] | None = None
    """The log-probabilities of all candidates, where the model chose."""

    @property
    def training_reward(self) -> float:
        """The reward minus the penalty."""
        return self.reward - self.penalty


@dataclass
class Episode:
    """One play of one task."""

    environment: str
    """The name of its column in R."""
    task: Task
    sample: int
    """The number of the play among those of the task."""
    turns: list[Turn] = field(default_factory=list)
    ended: str = ""
    """"terminated", "truncated" (by the environment), "max_turns", "max_context", "invalid" (too
    many invalid turns in a row) or "fault".

    A demonstration can also end with "no_expert", "gave_up" (the script ended first), "too_long"
    (the answer is longer than the adapter's `max_new_tokens`) or "not_allowed" (the policy could
    not have acted so otherwise: the action is not among the candidates).
    """
    success: bool = False
    system: str = ""
    """The system message."""
    fault: str | None = None
    """What the environment raised, if it raised."""
    failures: dict[str, int] = field(default_factory=dict)
    """Failure mode -> the turn at which it shows, counted from 1; see `contrail.FailureRule`."""
    max_turns: int | None = None
    """The number of turns that its environment allows."""
    demonstrated: bool = False
    """Whether a script decided, not the model; then log-probabilities and entropies are 0."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Episode:
        """Return the opposite of `dataclasses.asdict`."""
        turns = [Turn(**turn) for turn in values["turns"]]
        return cls(**{**values, "task": Task(**values["task"]), "turns": turns})

    @property
    def reward(self) -> float:
        """The sum of the steps' rewards, whose order makes no difference."""
        return math.fsum(turn.reward for turn in self.turns)

    @property
    def training_reward(self) -> float:
        """The reward minus the penalties of the turns: what training follows."""
        return math.fsum(turn.training_reward for turn in self.turns)

    @property
    def invalid_in_a_row(self) -> int:
        """The number of invalid turns since the last valid one."""
        valid = (place for place, turn in enumerate(reversed(self.turns)) if turn.valid)
        return next(valid, len(self.turns))

    @property
    def info(self) -> dict[str, float]:
        """By name, the last value that a step's `info` has given."""
        return {name: value for turn in self.turns for name, value in turn.info.items()}

    def context(self, turn: int) -> list[int]:
        """Return the token ids that the model saw before it wrote in a turn."""
        first = self.first_turn(turn)
        tokens = [
            token
            for earlier in self.turns[first:turn]
            for token in (*earlier.prompt, *earlier.written)
        ]
        return [*tokens, *self.turns[turn].prompt]

    def first_turn(self, turn: int) -> int:
        """Return the first of the turns whose tokens a turn's context holds."""
        restarts = (number for number in range(turn, 0, -1) if self.turns[number].restart)
        return next(restarts, 0)

    @property
    def token_ids(self) -> list[int]:
        """The token ids of all turns, in order; those of a restart begin with its whole context."""
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
    def learnt(self) -> list[int]:
        """1 for each decision that training learns from, 0 for those of turns that are left out."""
        return [int(not turn.left_out) for turn in self.turns for _ in turn.logprobs]

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
            **(
                {"training_reward": self.training_reward}
                if any(turn.penalty for turn in self.turns)
                else {}
            ),
            "success": self.success,
            "ended": self.ended,
            "fault": self.fault,
            **({"failures": self.failures} if self.failures else {}),
            **({"demonstrated": True} if self.demonstrated else {}),
            "turns": [
                {
                    "observation": turn.observation,
                    "text": turn.text,
                    "action": turn.action,
                    "valid": turn.valid,
                    "reward": turn.reward,
                    "choices": turn.choices,
                    "choice": turn.choice,
                    **(
                        {
                            # JSON has no infinity.
                            "choice_logprobs": [
                                max(round(value, 4), -1e4) for value in turn.choice_logprobs
                            ]
                        }
                        if turn.choice_logprobs is not None
                        else {}
                    ),
                    **({"info": turn.info} if turn.info else {}),
                    **({"restart": True} if turn.restart else {}),
                    **({"cut_off": True} if turn.cut_off else {}),
                    **({"penalty": turn.penalty} if turn.penalty else {}),
                    **({"left_out": True} if turn.left_out else {}),
                }
                for turn in self.turns
            ],
            "token_ids": self.token_ids,
            "mask": self.mask,
            "logprobs": [round(value, 6) for value in self.logprobs],
        }
