"""What the adapters for free text share: their keys, the list of actions, and how an action is
read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import contrail

_THOUGHT = re.compile(r"<(/?)think>", re.IGNORECASE)
BEGINNINGS = 1000
"""Braces that begin no JSON object after which no more are looked for: each costs time that grows
with the text, and no answer means so many."""
_FENCE = re.compile(r"[`\s]*|\s*```\w*\s*")


@dataclass
class FreeTextConfig:
    """The keys that all adapters for free text have in stream.yaml."""

    max_new_tokens: int = 128
    """The largest number of tokens of an answer."""
    list_actions: bool | Literal["every", "first", "never"] = "every"
    """The turns in which the model is shown the admissible actions, if the environment lists them.
    `true` is every turn, `false` none."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")
        if isinstance(self.list_actions, bool):
            self.list_actions = "every" if self.list_actions else "never"


@dataclass
class ThoughtConfig(FreeTextConfig):
    """The keys of an adapter whose answers begin with a thought."""

    thought: str = ""
    """The thought of players without a model, such as the expert: a text in which `{action}` stands
    for the action, for example "I should {action}."."""


class FreeText(contrail.Adapter):
    """The model writes freely, in the form of the `instruction`."""

    Config: ClassVar[type] = FreeTextConfig
    instruction: ClassVar[str] = ""
    """The form of an answer, for the system message."""

    @property
    def max_new_tokens(self) -> int:  # type: ignore[override]
        """From the settings."""
        limit: int = self.config.max_new_tokens
        return limit

    def system(self, environment: contrail.Environment) -> str:
        return f"{environment.system_prompt}\n\n{self.instruction}".strip()

    def render(
        self, observation: contrail.Observation, episode: contrail.EpisodeView | None = None
    ) -> str:
        first = episode is None or episode.turn == 0
        turns = self.config.list_actions
        if observation.actions is None or turns == "never" or (turns == "first" and not first):
            return observation.text
        return f"{observation.text}\nAvailable actions:{contrail.list_actions(observation.actions)}"

    def thought(self, action: str) -> str:
        """Return the thought of a player without a model."""
        template: str = self.config.thought
        return template.replace("{action}", action)


def after_thought(text: str) -> str:
    """Return what a model says after its thoughts (`<think>…</think>`), in which it may try out
    actions.

    Raises:
        InvalidAction: the last thought has no end.
    """
    marks = list(_THOUGHT.finditer(text))
    if marks and not marks[-1][1]:
        raise contrail.InvalidAction("Close your reasoning with </think> before the action.")
    return text[marks[-1].end() :] if marks else text


def first_line(text: str) -> str:
    """Return the first line that is neither empty nor the mark of a code block; "" if none is."""
    return next((line for line in text.splitlines() if not _FENCE.fullmatch(line)), "")


class Repeated(list[Any]):
    """The values of a key that stands in a JSON object more than once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            before = found[key]
            found[key] = Repeated([*before] if isinstance(before, Repeated) else [before])
            found[key].append(value)
        else:
            found[key] = value
    return found


def clean(text: str, observation: contrail.Observation) -> str:
    """Return the action in a model's words, as `contrail.read_action` reads it.

    Raises:
        InvalidAction: nothing is left.
    """
    action = contrail.read_action(text, observation.actions or ())
    if not action:
        raise contrail.InvalidAction("The action is empty. Write one action.")
    return action


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, whatever stands around them; not those inside others, or
    inside a beginning of one. The values of a repeated key are `Repeated`."""
    # Models break lines within texts.
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_object)
    place = text.find("{")
    failed = 0
    while place >= 0 and failed < BEGINNINGS:
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            end = max(error.pos, place + 1)
            failed += 1
        except (ValueError, RecursionError):  # a number without end, a thousand brackets
            return
        else:
            yield value
        place = text.find("{", end)
