"""The chat format of a model that calls tools: calls and results as its template writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from contrail.adapter import Adapter, EpisodeView, call
from contrail.environment import Observation, Task
from contrail.errors import ContrailError, InvalidAction
from contrail.model.chat import _USER, Chat, _unusable

# Nine letters or digits, as Mistral's templates require.
_ID = "contrail1"


class ToolChat(Chat):
    """A chat in which the model may call tools.

    `answer` takes a call as JSON, `{"name": …, "arguments": {…}}`, and writes it as the template
    does. All user messages after the first have the role `tool`.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, tools: Sequence[Mapping[str, Any]]
    ) -> None:
        self._tools = [dict(tool) for tool in tools]
        super().__init__(tokenizer)

    def answer(self, text: str) -> list[int]:
        """A whole turn of the model, with its end."""
        if _call(text) is None:
            return super().answer(text)
        return self._turn(self._written(text))

    def words(self, text: str) -> list[int]:
        """A whole turn in the model's own words; a call as JSON as `answer` writes it."""
        return super().words(text) if _call(text) is None else self._stopped(self.answer(text))

    def drop_past_thoughts(self) -> None:
        try:
            super().drop_past_thoughts()
        except ContrailError as error:
            raise ContrailError(
                "with tools, the model's chat template keeps the thoughts of earlier turns, as "
                "results are no messages of the user to it. Set `answers.past_thoughts: keep`"
            ) from error

    def _written(self, text: str) -> str:
        """Return a call as the template writes it, up to the end of the turn."""
        first = [("user", _USER)]
        whole = self._render([*first, ("assistant", text), ("user", _USER)])
        prompt = (self._render(first) + self._header).removesuffix(self._opening)
        after = self._around(_USER)[1]
        if not (whole.startswith(prompt) and whole.endswith(after)):
            raise _unusable("it writes a turn with a tool call unlike other turns")
        written = whole[len(prompt) : len(whole) - len(after)]
        if not self._opening:
            return written
        # The prompt has opened the thought of which the template writes nothing or everything.
        opened = written.startswith(self._opening)
        return written.removeprefix(self._opening) if opened else self._lead + written

    def _read_template(self) -> None:
        try:
            super()._read_template()
        except ValueError as error:
            raise _unusable("it has no place for the results of tools") from error

    def _conversation(self, messages: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        conversation = super()._conversation(messages)
        called = False
        for message, (role, text) in zip(conversation, messages, strict=True):
            made = _call(text) if role == "assistant" else None
            if made is not None:
                arguments = {
                    name: self._as_text(value) if isinstance(value, str) else value
                    for name, value in made["arguments"].items()
                }
                function = {"name": made["name"], "arguments": arguments}
                message["content"] = ""
                message["tool_calls"] = [{"id": _ID, "type": "function", "function": function}]
            elif role == "user" and called:
                message.update(role="tool", name="tool", tool_call_id=_ID)
            called = called or role == "assistant"
        return conversation


def check_tools(chat: Chat, adapter: Adapter) -> None:
    """Refuse an adapter with tools where the model's chat template cannot express them.

    Raises:
        ContrailError: the template has no tools, or the adapter cannot read its calls.
    """
    if not adapter.tools:
        return
    advice = "Use another model, or `adapter: json`, which needs no tools of a template."
    try:
        tools = chat.using(adapter.tools)
        if tools.start("", "x") == chat.start("", "x"):
            raise ContrailError("the model's chat template has no tools")
        task = Task("check", "check", 0, "train")
        seen = Observation("")
        view = EpisodeView("check", task, 1, seen)
        text = tools.text(tools.answer(adapter.answer("look around")))
        read = call(adapter, "parse", text, seen, view)
    except InvalidAction as error:
        message = f"the adapter cannot read the model's tool calls, such as {text!r} ({error})"
        raise ContrailError(f"{message}. {advice}") from error
    except ContrailError as error:
        raise ContrailError(f"{error}. {advice}") from error
    if read != "look around":
        raise ContrailError(f"the adapter reads {read!r} in the tool call {text!r}. {advice}")
    chat.notes += [note for note in tools.notes if note not in chat.notes]


def _call(text: str) -> dict[str, Any] | None:
    """Return the tool call that a text is, if it is one."""
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = isinstance(value, dict) and set(value) == {"name", "arguments"}
    return value if known and isinstance(value["arguments"], dict) else None
