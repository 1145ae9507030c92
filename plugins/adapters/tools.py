"""The adapter `tools`: the model calls a tool, in the form of its own chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import contrail
from contrail.plugins.adapters.shared import (
    FreeText,
    FreeTextConfig,
    after_thought,
    clean,
    json_objects,
)

_ACT = {
    "type": "function",
    "function": {
        "name": "act",
        "description": "Carry out one action.",
        "parameters": {
            "type": "object",
            "properties": {"action": {"type": "string", "description": "The action."}},
            "required": ["action"],
        },
    },
}
_TAGGED = re.compile(r"<function=(\w+)>\s*<parameter=action>\n?(.*?)\n?</parameter>", re.DOTALL)


class Tools(FreeText):
    """One call of the tool `act`; observations after the first have the role `tool`.

    It needs a model whose chat template has tools and writes calls in JSON or in Qwen3.5's tags.
    Text may stand around the call.
    """

    Config = FreeTextConfig
    tools = (_ACT,)
    instruction = "Answer every message with one call of the tool `act`."

    def answer(self, action: str) -> str:
        call = {"name": "act", "arguments": {"action": action}}
        return json.dumps(call, ensure_ascii=False)

    def parse(self, text: str, observation: contrail.Observation) -> str:
        text = after_thought(text)
        tagged = _TAGGED.findall(text)
        calls = [value for value in json_objects(_TAGGED.sub("", text)) if "name" in value]
        calls += [{"name": name, "arguments": {"action": action}} for name, action in tagged]
        if len(calls) != 1:
            raise contrail.InvalidAction("Call the tool `act` exactly once.")
        arguments = calls[0].get("arguments", calls[0].get("parameters"))
        if isinstance(arguments, str):  # some templates write them as JSON within JSON
            arguments = next(json_objects(arguments), None)
        action: Any = arguments.get("action") if isinstance(arguments, dict) else None
        if calls[0]["name"] != "act" or not isinstance(action, str):
            raise contrail.InvalidAction('Call the tool `act` with {"action": "one action"}.')
        return clean(action, observation)


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("tools", Tools)
