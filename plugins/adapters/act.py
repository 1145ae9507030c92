"""The adapter `act`: the model writes an action, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import contrail
from contrail.plugins.adapters.shared import (
    FreeText,
    FreeTextConfig,
    after_thought,
    clean,
    first_line,
)


class Act(FreeText):
    """The answer is the action alone: its first line that is not empty, after a thought if there is
    one (`<think>…</think>`)."""

    Config = FreeTextConfig
    instruction = "Answer every message with one action, on one line, and nothing else."

    def parse(self, text: str, observation: contrail.Observation) -> str:
        line = first_line(after_thought(text))
        if not line:
            raise contrail.InvalidAction("No action found. Write one action, on one line.")
        return clean(line, observation)


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("act", Act)
