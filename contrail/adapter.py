"""The interface between environment and model. Adapter authors subclass `Adapter`."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from contrail.environment import Environment, NoConfig, Observation, Task
from contrail.errors import PluginError
from contrail.values import as_flag, as_texts, as_whole

T = TypeVar("T")


@dataclass(frozen=True)
class Exchange:
    """A finished turn of an episode."""

    observation: str
    """The user message before it, as it was shown to the model."""
    seen: Observation
    """The environment's observation then; after an answer without an action, still the one before
    it."""
    text: str
    """The model's answer."""
    action: str | None
    """The action that the adapter read in the answer; None if there was none."""
    valid: bool = True
    """False if there was no action, or the environment could not interpret it."""
    reward: float = 0.0


@dataclass(frozen=True)
class EpisodeView:
    """An episode as an adapter sees it. It cannot be changed."""

    environment: str
    """The name of the environment's column in R."""
    task: Task
    max_turns: int
    """The largest number of turns of the episode."""
    first: Observation
    """The environment's first observation."""
    history: tuple[Exchange, ...] = ()
    """The turns taken so far."""

    @property
    def turn(self) -> int:
        """The number of turns taken so far."""
        return len(self.history)

    @property
    def turns_left(self) -> int:
        """The number of turns still to come."""
        return self.max_turns - self.turn

    def after(self, exchange: Exchange) -> EpisodeView:
        """Return the view of the same episode after one more turn."""
        return replace(self, history=(*self.history, exchange))


def _may_be_shorter(method: Callable[..., T]) -> Callable[..., T]:
    """An override may leave out trailing parameters, so type checkers must not compare them."""
    return method


class Adapter(ABC):
    """Renders an observation as chat text, and turns the model's text into an action.

    An adapter is a pure function of its arguments: one instance serves all episodes. Methods may
    leave out trailing parameters: `def render(self, observation)`.
    """

    Config: ClassVar[type] = NoConfig
    """A dataclass; its fields are the adapter's keys in stream.yaml."""

    stop: Sequence[str] = ()
    """A list of texts. Free text ends at the first of these, or at the model's own end of turn."""

    single_turn: bool = False
    """If true, each turn is a conversation of its own: the system message and one user message.
    What the model should know of earlier turns, `render` must write."""

    max_new_tokens: int = 64
    """Free text is cut after this many tokens."""

    tools: Sequence[Mapping[str, Any]] = ()
    """Tools that the model may call, as the chat template takes them (JSON schemas of functions).
    Then `answer` returns the call as JSON, `{"name": …, "arguments": {…}}`, which the template
    writes in its own form, and all messages after the first have the role `tool`."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @_may_be_shorter
    def system(self, environment: Environment, task: Task | None = None) -> str:
        """Return the system message of an episode; "" for none."""
        return environment.system_prompt

    @_may_be_shorter
    @abstractmethod
    def render(self, observation: Observation, episode: EpisodeView) -> str:
        """Return the user message that shows the observation."""

    @_may_be_shorter
    def candidates(
        self, observation: Observation, episode: EpisodeView | None = None
    ) -> Sequence[str] | None:
        """Return the texts the model must choose from, or None to let it write freely.

        With candidates, the policy is the softmax over the model's scores of these texts.
        """
        return None

    def answer(self, action: str) -> str:
        """Return the text with which a model would take the action; `parse` turns it back into
        one.

        Players without a model, such as the baseline `random`, act through it.
        """
        return action

    @_may_be_shorter
    @abstractmethod
    def parse(self, text: str, observation: Observation, episode: EpisodeView) -> str:
        """Return the action in the model's text.

        Raises:
            InvalidAction: there is none; the message becomes the next user message.
        """


PARAMETERS: dict[str, tuple[str, ...]] = {
    "system": ("environment", "task"),
    "render": ("observation", "episode"),
    "candidates": ("observation", "episode"),
    "answer": ("action",),
    "parse": ("text", "observation", "episode"),
}
"""Of each method of an adapter, without `self`."""


def check_attributes(adapter: Adapter) -> None:
    """Refuse an adapter with an attribute of another kind.

    Raises:
        TypeError: `stop`, `tools`, `single_turn` or `max_new_tokens` is of another type.
        ValueError: an empty text would stop every answer, or no answer may have a token.
    """
    if "" in as_texts(adapter.stop, "stop"):
        raise ValueError("stop has an empty text, at which every answer would end")
    as_flag(adapter.single_turn, "single_turn")
    if as_whole(adapter.max_new_tokens, "max_new_tokens") < 1:
        raise ValueError(f"max_new_tokens is {adapter.max_new_tokens}; it must be above 0")
    if isinstance(adapter.tools, (str, Mapping)) or not all(
        isinstance(tool, Mapping) for tool in adapter.tools
    ):
        raise TypeError("tools must be a list of mappings, each the JSON schema of a function")


def call(adapter: Adapter, name: str, *arguments: Any) -> Any:
    """Call a method of an adapter with as many of the arguments as it takes.

    `render` is given no list of actions that must not be shown.

    Raises:
        PluginError: its parameters do not fit; see `check_parameters`.
    """
    method = getattr(adapter, name)
    function = getattr(method, "__func__", method)
    if name == "render" and isinstance(arguments[0], Observation):
        arguments = (arguments[0].shown, *arguments[1:])
    return method(*arguments[: _count(function, function is not method, name)])


def check_parameters(cls: type[Adapter]) -> None:
    """Refuse an adapter with a method that could not be called.

    Raises:
        PluginError: a method is none, or has other parameters than that of `Adapter`, from the
            first one on.
    """
    for name, expected in PARAMETERS.items():
        method = getattr(cls, name)
        if not callable(method):
            raise PluginError(
                f"{cls.__qualname__}.{name} is {method!r:.60}. It must be a method: "
                f"def {name}(self, {', '.join(expected)})."
            )
        static = isinstance(inspect.getattr_static(cls, name), staticmethod)
        _count(getattr(method, "__func__", method), not static, name)


@functools.cache
def _count(function: Callable[..., Any], bound: bool, name: str) -> int:
    """Return how many arguments to call a method with, `self` aside.

    A parameter with a default that is not one of contrail's keeps its default.
    """
    expected = PARAMETERS[name]
    parameters = list(inspect.signature(function).parameters.values())
    count = 0
    for place, parameter in enumerate(parameters[bound:]):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return len(expected)
        own = parameter.name not in expected
        if parameter.kind is parameter.VAR_KEYWORD or (
            own and parameter.default is not parameter.empty
        ):
            continue
        here = expected[place : place + 1]
        if not here or not (own or here == (parameter.name,)) or _is_keyword(parameter):
            where = getattr(function, "__qualname__", name)
            written = ", ".join(parameter.name for parameter in parameters[bound:])
            raise PluginError(
                f"{where}({written}) cannot be called. The parameters are "
                f"{name}({', '.join(expected)}); only the last ones can be left out."
            )
        count += 1
    return count


def _is_keyword(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY
