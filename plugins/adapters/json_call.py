"""The adapter `json`: the model writes its action as a JSON object."""

from __future__ import annotations

import json
from collections.abc import Callable

import contrail
from contrail.plugins.adapters.shared import (
    FreeText,
    Repeated,
    ThoughtConfig,
    after_thought,
    clean,
    json_objects,
)


class Json(FreeText):
    """`{"thought": …, "action": …}`: the one JSON object of the answer with the key `action`.

    Code fences and other text may stand around it; `thought` may be missing.
    """

    Config = ThoughtConfig
    instruction = (
        "Answer every message with one JSON object, with your reasoning and one action:\n"
        '{"thought": "your reasoning, in a sentence or two", "action": "one action"}'
    )

    def answer(self, action: str) -> str:
        thought = self.thought(action)
        said = {"thought": thought, "action": action} if thought else {"action": action}
        return json.dumps(said, ensure_ascii=False)

    def parse(self, text: str, observation: contrail.Observation) -> str:
        found = [
            value["action"] for value in json_objects(after_thought(text)) if "action" in value
        ]
        if not found:
            raise contrail.InvalidAction('No action found. Write {"action": "one action"}.')
        if len(found) > 1 or isinstance(found[0], Repeated):
            raise contrail.InvalidAction("Write exactly one JSON object with one action.")
        if not isinstance(found[0], str):
            raise contrail.InvalidAction(
                'The action is not a text. Write {"action": "one action"}.'
            )
        return clean(found[0], observation)


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("json", Json)
