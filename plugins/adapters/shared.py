"""What the adapters for free text share: their keys, the list of actions, and how an action is
read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import contrail


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
        return f"{observation.text}\nAvailable actions: {', '.join(observation.actions)}"

    def thought(self, action: str) -> str:
        """Return the thought of a player without a model."""
        template: str = self.config.thought
        return template.replace("{action}", action)


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
    inside a beginning of one."""
    decoder = json.JSONDecoder(strict=False)  # models break lines within texts
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            end = max(error.pos, place + 1)
        except (ValueError, RecursionError):  # a number without end, a thousand brackets
            return
        else:
            yield value
        place = text.find("{", end)
