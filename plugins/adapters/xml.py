"""The adapter `xml`: the model writes its action in tags."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import contrail
from contrail.plugins.adapters.shared import FreeText, ThoughtConfig, after_thought, clean

_ACTION = re.compile(r"<action>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z]\w*)>", re.IGNORECASE)


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
        alone = any(found.whole == action for found in itertools.islice(elements(action), 1))
        return before + (action if alone else f"<action>{action}</action>")

    def parse(self, text: str, observation: contrail.Observation) -> str:
        found = list(itertools.islice(elements(after_thought(text)), 2))
        if not found:
            raise contrail.InvalidAction("No action found. Write <action>one action</action>.")
        one = found[0]
        if len(found) > 1 or _ACTION.search(one.inside):
            raise contrail.InvalidAction("Write exactly one action after </think>.")
        alone = one.name == "action" or not one.inside.strip()
        return clean(one.inside if alone else one.whole, observation)


class Element(NamedTuple):
    """A pair of tags: their name in lower case, what is between them, and all of it."""

    name: str
    inside: str
    whole: str


def elements(text: str) -> Iterator[Element]:
    """Yield the pairs of tags in a text, from an opening tag to the next closing one of its name;
    not those inside others."""
    tags = list(_TAG.finditer(text))
    closing: dict[str, list[re.Match[str]]] = {}  # by name, the last first
    for tag in reversed(tags):
        if tag[1]:
            closing.setdefault(tag[2].lower(), []).append(tag)
    end = 0
    for tag in tags:
        if tag[1] or tag.start() < end:
            continue
        ends = closing.get(tag[2].lower(), [])
        while ends and ends[-1].start() < tag.end():
            ends.pop()
        if ends:
            inside = text[tag.end() : ends[-1].start()]
            end = ends[-1].end()
            yield Element(tag[2].lower(), inside, text[tag.start() : end])


@contrail.hookimpl
def contrail_adapters(register: Callable[[str, type[contrail.Adapter]], None]) -> None:
    register("xml", Xml)
