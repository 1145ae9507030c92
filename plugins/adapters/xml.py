"""The adapter `xml`: the model writes its action in tags."""

from __future__ import annotations

import re
from collections.abc import Callable

import contrail
from contrail.plugins.adapters.shared import FreeText, ThoughtConfig, after_thought, clean

_ACTION = re.compile(r"<action>", re.IGNORECASE)
_TAG = re.compile(r"<([a-z]\w*)>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


class Xml(FreeText):
    """`<think>…</think>`, and one pair of tags after it with the action.

    `<action>…</action>` holds any action. Other tags are part of the action: searchqa's are
    `<search>…</search>` and `<answer>…</answer>`, as in AgentGym.
    """

    Config = ThoughtConfig
    stop = ("</action>", "</search>", "</answer>")
    instruction = (
        "Answer every message with your reasoning between <think> and </think>, and then one "
        "action between <action> and </action>. An action with tags of its own is written as it "
        "is, without <action>."
    )

    def answer(self, action: str) -> str:
        thought = self.thought(action)
        before = f"<think>{thought}</think>\n" if thought else ""
        tags = _TAG.match(action)
        alone = tags is not None and tags.end() == len(action)
        return before + (action if alone else f"<action>{action}</action>")

    def parse(self, text: str, observation: contrail.Observation) -> str:
        found = list(_TAG.finditer(after_thought(text)))
        if not found:
            raise contrail.InvalidAction("No action found. Write <action>one action</action>.")
        whole, name, inside = found[0][0], found[0][1], found[0][2]
        if len(found) > 1 or _ACTION.search(inside):
            raise contrail.InvalidAction("Write exactly one action after </think>.")
        return clean(
            inside if name.lower() == "action" or not inside.strip() else whole, observation
        )


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("xml", Xml)
