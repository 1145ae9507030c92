"""One rollout of verifiers, which waits wherever it asks the model for a message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from contrail import ContrailError
from contrail.envs.shared.calls import Call, Tool
from contrail.envs.shared.lent_random import LentRandom
from contrail.envs.verifiers.loaded import Loaded

_playing: ContextVar[Play] = ContextVar("contrail_verifiers_play")


class Play:
    """A rollout of a row: the library's own, with its loop, ends and rewards.

    `begin` and `answer` go on until the rollout asks for a message or is over.

    Attributes:
        prompt: the messages of the last question, as mappings; a text for completions.
        tools: the tools that the model has.
        state: the library's state of the rollout, once it is over.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.prompt: Sequence[Mapping[str, Any]] | str = ()
        self.tools: list[Tool] = []
        self.state: Any = None
        self._loaded = loaded
        self._random = LentRandom()
        self._rollout: asyncio.Task[Any] | None = None
        self._asked = asyncio.Event()
        self._reply: asyncio.Future[Any] | None = None
        for part in loaded.parts:
            part.get_model_response = _ask_whoever_plays

    @property
    def over(self) -> bool:
        return self.state is not None

    def begin(self, row: Mapping[str, Any], seed: int) -> None:
        """Begin a rollout, whatever happened before."""
        self.end()
        self._random.seed(seed)
        self.state, self._asked, self._reply = None, asyncio.Event(), None
        self._advance(row)

    def answer(self, text: str, calls: Sequence[Call]) -> None:
        """Give the model's message: its words, or calls of tools."""
        if self._reply is None:
            raise ContrailError("verifiers: no message is asked for.")
        reply, self._reply = self._reply, None
        reply.set_result(_response(self.prompt, text, calls))
        self._advance(None)

    def end(self) -> None:
        """Abandon the rollout."""
        if self._rollout is not None and not self._rollout.done():
            self._rollout.cancel()
            self._loaded.loop.run(_settled(self._rollout))
        self._rollout = None

    async def ask(self, prompt: Any, tools: Any) -> Any:
        """Wait for the model's message. Called within the rollout."""
        if self._reply is not None:
            raise ContrailError(
                f"verifiers: {self._loaded.name} asks for two messages at once; the bridge plays "
                "one agent."
            )
        self.prompt = prompt if isinstance(prompt, str) else [_plain(part) for part in prompt]
        self.tools = [Tool.of(_plain(tool)) for tool in tools or ()]
        self._reply = asyncio.get_running_loop().create_future()
        self._asked.set()
        return await self._reply

    def _advance(self, row: Mapping[str, Any] | None) -> None:
        with self._random():
            self._loaded.loop.run(self._until_asked(row))
        if self._rollout is not None and self._rollout.done():
            self.state = self._rollout.result()

    async def _until_asked(self, row: Mapping[str, Any] | None) -> None:
        if row is not None:
            self._rollout = asyncio.create_task(self._played(row))
        if self._rollout is None:
            return
        self._asked.clear()
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait({self._rollout, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    async def _played(self, row: Mapping[str, Any]) -> Any:
        """Return the state after the rollout, with its reward.

        Raises:
            ContrailError: the library marks the rollout as failed, or its rewards need a group.
        """
        _playing.set(self)
        environment = self._loaded.environment
        state = await environment.rollout(dict(row), _client(), "contrail", {})
        if state.get("error") is not None:
            error = state["error"]
            raise ContrailError(f"verifiers: {self._loaded.name}: {error!r}") from error
        try:
            await environment.rubric.score_rollout(state)
        except AssertionError as error:
            raise ContrailError(
                f"verifiers: {self._loaded.name} cannot score a rollout by itself: {error}"
            ) from error
        return state


async def _ask_whoever_plays(state: Any, prompt: Any, *given: Any, **named: Any) -> Any:
    """Take the place of get_model_response."""
    tools = named.get("tool_defs") or named.get("oai_tools")
    return await _playing.get().ask(
        prompt, tools or state.get("tool_defs") or state.get("oai_tools")
    )


async def _settled(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def _plain(part: Any) -> dict[str, Any]:
    """Return a message or a tool as a mapping: versions before 0.1.12 have nothing else."""
    return dict(part if isinstance(part, Mapping) else part.model_dump(exclude_none=True))


def _response(prompt: Any, text: str, calls: Sequence[Call]) -> Any:
    """Return the model's message in the library's form."""
    import verifiers.types as types

    made = [
        {"id": f"call_{number}", "name": call.name, "arguments": json.dumps(dict(call.arguments))}
        for number, call in enumerate(calls)
    ]
    content = None if made else text
    reason = "tool_calls" if made else "stop"
    common = {"id": "contrail", "created": 0, "model": "contrail"}
    if hasattr(types, "ResponseMessage"):  # 0.1.12 and later
        message: dict[str, Any] = {
            "content": content,
            "tool_calls": made or None,
            "finish_reason": reason,
            "is_truncated": False,
        }
        return types.Response.model_validate({**common, "message": message})
    if isinstance(prompt, str):
        choice: dict[str, Any] = {
            "index": 0,
            "text": text,
            "finish_reason": "stop",
            "logprobs": None,
        }
        kind = "text_completion"
        return types.Completion.model_validate({**common, "object": kind, "choices": [choice]})
    tool_calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in made
    ]
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls or None}
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    kind = "chat.completion"
    return types.ChatCompletion.model_validate({**common, "object": kind, "choices": [choice]})


def _client() -> Any:
    """Return what a rollout takes for a client, and never asks."""
    try:
        from verifiers.clients import Client
    except ImportError:  # before 0.1.12 anything is taken
        return None

    class Nobody(Client):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None: ...

    Nobody.__abstractmethods__ = frozenset()
    return Nobody()
