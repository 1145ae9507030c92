"""The adapter `act`: the model writes an action, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import contrail
from contrail.plugins.adapters.shared import FreeText, FreeTextConfig, clean


class Act(FreeText):
    """The answer is the action alone: its first line that is not empty."""

    Config = FreeTextConfig
    instruction = "Answer every message with one action, on one line, and nothing else."

    def parse(self, text: str, observation: contrail.Observation) -> str:
        lines = [line for line in text.splitlines() if line.strip("` \t")]
        if not lines:
            raise contrail.InvalidAction("No action found. Write one action, on one line.")
        return clean(lines[0], observation)


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("act", Act)
