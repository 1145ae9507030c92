"""The adapter `react`: the model writes a thought and an action in free text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import contrail

_INSTRUCTION = """\
Answer every message with one thought and one action, in this form:
Thought:
your reasoning, in a sentence or two

Action:
one action"""

_ACTION = re.compile(r"^[ \t]*action:[ \t]*", re.IGNORECASE | re.MULTILINE)


@dataclass
class ReactConfig:
    """The keys of react in stream.yaml."""

    max_new_tokens: int = 128
    """The largest number of tokens of an answer."""
    list_actions: bool = True
    """Show the model the admissible actions, if the environment lists them."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")


class React(contrail.Adapter):
    """`Thought: … Action: …` (ReAct, arXiv:2210.03629), in the layout AgentGym uses."""

    Config = ReactConfig

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """From the settings."""
        limit: int = self.config.max_new_tokens
        return limit

    def system(self, environment: contrail.Environment) -> str:
        return f"{environment.system_prompt}\n\n{_INSTRUCTION}".strip()

    def render(self, observation: contrail.Observation) -> str:
        if observation.actions is None or not self.config.list_actions:
            return observation.text
        return f"{observation.text}\nAvailable actions: {', '.join(observation.actions)}"

    def answer(self, action: str) -> str:
        return f"Thought:\n\nAction:\n{action}"

    def parse(self, text: str, observation: contrail.Observation) -> str:
        parts = _ACTION.split(text)
        if len(parts) == 1:
            raise contrail.InvalidAction("No action found. Write one line after 'Action:'.")
        if len(parts) > 2:
            raise contrail.InvalidAction("Write exactly one action.")
        lines = parts[1].strip().splitlines()
        if not lines:
            raise contrail.InvalidAction("The action is empty. Write one line after 'Action:'.")
        return lines[0].strip()


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("react", React)
