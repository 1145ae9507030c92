"""The adapter `react`: the model writes a thought and an action in free text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import contrail
from contrail.plugins.adapters.shared import (
    FreeText,
    ThoughtConfig,
    after_thought,
    clean,
    first_line,
)

_ACTION = re.compile(r"^[ \t]*action:[ \t]*", re.IGNORECASE | re.MULTILINE)
_WITHIN_A_LINE = re.compile(r"\bAction:[ \t]*")


@dataclass
class ReactConfig(ThoughtConfig):
    """The keys of react in stream.yaml."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if _ACTION.search(self.thought):
            raise ValueError("a line of thought begins with `Action:`, which begins the action")


class React(FreeText):
    """`Thought: … Action: …` (ReAct, arXiv:2210.03629), in the layout AgentGym uses.

    The action is the line after the one `Action:` with which a line begins. If no line begins so,
    one `Action:` within a line counts.
    """

    Config = ReactConfig
    instruction = """\
Answer every message with one thought and one action, in this form:
Thought:
your reasoning, in a sentence or two

Action:
one action"""

    def answer(self, action: str) -> str:
        thought = self.thought(action)
        said = f"{thought}\n" if thought else ""
        return f"Thought:\n{said}\nAction:\n{action}"

    def parse(self, text: str, observation: contrail.Observation) -> str:
        text = after_thought(text)
        parts = _ACTION.split(text)
        if len(parts) == 1:
            parts = _WITHIN_A_LINE.split(text)
        if len(parts) == 1:
            raise contrail.InvalidAction("No action found. Write one line after 'Action:'.")
        if len(parts) > 2:
            raise contrail.InvalidAction("Write exactly one action.")
        line = first_line(parts[1])
        if not line:
            raise contrail.InvalidAction("The action is empty. Write one line after 'Action:'.")
        return clean(line, observation)


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("react", React)
