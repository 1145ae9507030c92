"""The interface between environment and model. Adapter authors subclass `Adapter`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from contrail.environment import Environment, NoConfig, Observation


class Adapter(ABC):
    """Renders an observation as chat text, and turns the model's text into an action.

    An adapter is a pure function of its arguments: one instance serves all episodes.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the adapter's keys in stream.yaml."""

    stop: Sequence[str] = ()
    """Free text ends at the first of these, or at the model's own end of turn."""

    single_turn: bool = False
    """If true, each turn is a conversation of its own: the system message and one user message.
    What the model should know of earlier turns, `render` must write."""

    max_new_tokens: int = 64
    """Free text is cut after this many tokens."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    def system(self, environment: Environment) -> str:
        """Return the system message of every episode in the environment; "" for none."""
        return environment.system_prompt

    @abstractmethod
    def render(self, observation: Observation) -> str:
        """Return the user message that shows the observation."""

    def candidates(self, observation: Observation) -> Sequence[str] | None:
        """Return the texts the model must choose from, or None to let it write freely.

        With candidates, the policy is the softmax over the model's scores of these texts.
        """
        return None

    def answer(self, action: str) -> str:
        """Return the text with which a model would take the action; `parse` turns it back into
        one.

        Players without a model, such as the baseline `random`, act through it.
        """
        return action

    @abstractmethod
    def parse(self, text: str, observation: Observation) -> str:
        """Return the action in the model's text.

        Raises:
            InvalidAction: there is none; the message becomes the next user message.
        """
