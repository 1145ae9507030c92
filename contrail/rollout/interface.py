"""The adapter in an episode: its methods, called with what the episode has been so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from contrail.adapter import Adapter, EpisodeView, Exchange, call
from contrail.environment import Environment, Observation, Task
from contrail.episode import Turn
from contrail.errors import ContrailError, InvalidAction, PluginError, boundary, describe_error
from contrail.values import as_text, as_texts

T = TypeVar("T")


class Interface:
    """Between the environment of one episode and the model.

    Args:
        adapter: of the episode.
        label: the environment's column in R.
        environment: that plays.
        task: its task.
        first: its first observation.
    """

    def __init__(
        self, adapter: Adapter, label: str, environment: Environment, task: Task, first: Observation
    ) -> None:
        self.adapter = adapter
        self.observation = first
        self._view = EpisodeView(label, task, environment.max_turns, first)
        self.system = self._call(as_text, "system", environment, task)

    def render(self) -> str:
        """Return the user message that shows the observation."""
        return self._call(as_text, "render", self.observation, self._view)

    def candidates(self) -> Sequence[str] | None:
        """Return the answers that the model must choose from; None for free text."""
        return self._call(_candidates, "candidates", self.observation, self._view)

    def answer(self, action: str) -> str:
        """Return the text with which a model would take the action."""
        return self._call(as_text, "answer", action)

    def parse(self, text: str) -> str:
        """Return the action in the model's answer.

        Raises:
            InvalidAction: there is none.
        """
        return self._call(as_text, "parse", text, self.observation, self._view)

    def take(self, turn: Turn, observation: Observation | None = None) -> None:
        """Add a finished turn to the episode's view.

        Args:
            turn: that is finished.
            observation: the environment's answer; None if it was not asked.
        """
        self._view = self._view.after(
            Exchange(
                turn.observation, self.observation, turn.text, turn.action, turn.valid, turn.reward
            )
        )
        if observation is not None:
            self.observation = observation

    def _call(self, convert: Callable[[Any, str], T], name: str, *arguments: Any) -> T:
        """Return the converted result of a method of the adapter.

        Raises:
            InvalidAction: the adapter found no action.
            ContrailError: it raised something else, or returned something of another type.
        """

        def blame(error: BaseException) -> Exception:
            if isinstance(error, (ContrailError, InvalidAction)):
                return error
            kind = type(self.adapter).__name__
            return PluginError(f"adapter {kind}: {name}: {describe_error(error)}")

        with boundary(blame):
            return convert(call(self.adapter, name, *arguments), f"what {name} returned")


def _candidates(value: Any, what: str) -> Sequence[str] | None:
    return None if value is None else as_texts(value, what)
