"""Messages to token ids: each message is encoded once and appended.

The model's chat template decides which text surrounds a message. It is read by rendering short
conversations and looking at the text around their contents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from transformers import PreTrainedTokenizerBase

from contrail.errors import ContrailError
from contrail.model.encoder import Encoder

# They replace contents when the surrounding template is read; no tokenizer sees them.
_SYSTEM, _USER, _ANSWER = "contrailsystem", "contrailuser", "contrailanswer"

# For models that come without a chat template.
_PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

# A prompt must be the same tomorrow, when a run is resumed or repeated.
_TODAY = datetime(2025, 1, 1)

_REWRITES = (
    "The model's chat template rewrites earlier turns as a conversation goes on; "
    "contrail leaves them as the model has seen and written them."
)
_DROPS = (
    "The model's chat template drops the thoughts of earlier turns; contrail "
    "keeps them, as the model has written them."
)

# A thought in a message of the model, as its template looks for it.
_OPEN, _CLOSE = "<think>", "</think>"


class Chat:
    """The chat format of one model, in token ids.

    `end`: the token that closes a model's turn. Whether the model wrote it or was cut off before
    it, it stands between the turn and what `follow` returns. `ends`: the tokens that stop free
    text. `stop`: the strings that stop it, where a template closes turns with text instead of a
    token. `notes`: what a user should know about the format, one line each. `drops_thoughts`:
    whether the thoughts of earlier turns are dropped, see `drop_past_thoughts`.

    Control tokens come from the template alone: in a message, "<|im_end|>" is text.
    """

    _tools: list[Any] | None = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.notes: list[str] = []
        self.drops_thoughts = False
        self._encode = Encoder(tokenizer)
        self._using: dict[str, Chat] = {}
        self._template = self._find_template()
        self._find_controls()
        self._prefix = self._find_prefix()
        self._in_parts = self._system_role = False
        try:
            self._read_template()
        except ContrailError:
            raise
        except Exception as error:
            # A template is a program that came with the model.
            raise _unusable(f"{type(error).__name__}: {error}") from error

    def using(self, tools: Sequence[Mapping[str, Any]]) -> Chat:
        """Return the format for a model that may call tools; without any, this one.

        Args:
            tools: as chat templates take them.
        """
        if not tools:
            return self
        key = json.dumps(list(tools))
        if key not in self._using:
            from contrail.model.tools import ToolChat

            chat = ToolChat(self.tokenizer, tools)
            if self.drops_thoughts:
                chat.drop_past_thoughts()
            self._using[key] = chat
        return self._using[key]

    def start(self, system: str, user: str) -> list[int]:
        """The beginning of an episode, up to where the model writes."""
        return self.conversation(system, [], user)

    def conversation(
        self, system: str, exchanges: Sequence[tuple[str, Sequence[int]]], user: str
    ) -> list[int]:
        """Return a whole conversation as the template writes it, up to where the model writes.

        Args:
            system: the system message; "" for none.
            exchanges: the user messages before, each with the tokens of the model's answer.
            user: the last user message.
        """
        users = [*(shown for shown, _ in exchanges), user]
        if system and not self._system_role:
            system, users[0] = "", f"{system}\n\n{users[0]}"
        messages = [("system", self._as_text(system))] if system else []
        for shown, (_, written) in zip(users, exchanges, strict=False):
            messages += [("user", self._as_text(shown)), ("assistant", self._message(written))]
        messages.append(("user", self._as_text(users[-1])))
        ids = self._encode.tokens(self._render(messages) + self._header)
        return ids if ids[: len(self._prefix)] == self._prefix else [*self._prefix, *ids]

    def drop_past_thoughts(self) -> None:
        """From now on, conversations are to lose the thoughts of earlier turns, as the template
        drops them.

        Raises:
            ContrailError: the template does not drop them.
        """
        if not self._template_drops():
            raise ContrailError(
                "the model's chat template does not drop the thoughts of earlier turns "
                f"(what stands between {_OPEN} and {_CLOSE})"
            )
        self.drops_thoughts = True
        self.notes = [note for note in self.notes if note not in (_REWRITES, _DROPS)]

    def after(self, written: Sequence[int], user: str) -> list[int]:
        """Return the tokens from what the model wrote in a turn to the beginning of its next one.

        A turn that was cut off before its end is closed for the model.
        """
        if written[-1] == self.end:
            return self.follow(user)
        tail = self._around(self._as_text(user))[1] + self._header
        for stop in self.stop:  # the beginning of the next message, which the model has written
            if stop in self.text(written) and tail.startswith(stop):
                return self._encode(tail.removeprefix(stop), before=stop)
        return [self.end, *self.follow(user)]

    def follow(self, user: str) -> list[int]:
        """Return the tokens from `end` to the beginning of the model's next turn."""
        tail = self._around(self._as_text(user))[1] + self._header
        if self._closing:
            if tail.startswith(self._closing):
                return self._encode(tail[len(self._closing) :], before=self._end_text)
        elif (ids := self._encode(tail, before=_ANSWER))[0] == self.end:
            return ids[1:]
        raise _unusable("it does not close every turn alike")

    def answer(self, text: str) -> list[int]:
        """A whole turn of the model, with its end."""
        return self._turn(self._lead + self._as_text(self._trimmed(text)))

    def words(self, text: str) -> list[int]:
        """A whole turn in the model's own words: markers in it, such as those of a thought, are
        its tokens, unless they are special ones."""
        text = self._trimmed(text)
        if self._opening and _CLOSE not in self._opening:
            text = text.removeprefix(self._opening).removeprefix(_OPEN)
        lead = "" if _CLOSE in self._lead and _CLOSE in text else self._lead
        return self._stopped(self._turn(lead + self._as_text(text, self._special)))

    def _trimmed(self, text: str) -> str:
        return text.strip() if self._trims else text

    def _turn(self, text: str) -> list[int]:
        ids = self._encode(text + self._closing, before=self._before_answer)
        return ids if self._closing else [*ids, self.end]

    def _stopped(self, turn: list[int]) -> list[int]:
        """Return a turn with the end of free text: where no token ends it, a whole stop."""
        return turn if self._closing else [*turn[:-1], *self._encode(self.stop[0], before=_ANSWER)]

    def text(self, tokens: Sequence[int]) -> str:
        """Return the model's text, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def cut(self, text: str) -> str:
        """Return free text up to its end."""
        for stop in self.stop:
            text = text.partition(stop)[0]
        return text

    def said(self, written: Sequence[int]) -> str:
        """Return free text as `_decoded`, with the opening of a thought that the prompt has."""
        begun = self._opening if _CLOSE not in self._opening else ""
        return begun + self._decoded(written)

    def _decoded(self, written: Sequence[int]) -> str:
        """Return free text up to its end, with the markers of its thoughts."""
        tokens = [token for token in written if token not in self._special_ids]
        return self.cut(str(self.tokenizer.decode(tokens)))

    def _message(self, written: Sequence[int]) -> str:
        """Return the model's answer as the template takes it, with the markers of its thoughts."""
        text = self._decoded(written)
        if not self._lead.strip():
            text = text.removeprefix(self._lead)
        return self._opening + self._as_text(text, self._special)

    def _find_template(self) -> str:
        template: Any = self.tokenizer.chat_template
        if isinstance(template, dict):  # named templates, such as for tools and for retrieval
            if "default" not in template and len(template) != 1:
                names = ", ".join(sorted(template)) or "none"
                raise _unusable(f"none of its templates is called 'default' (there are: {names})")
            template = template.get("default") or next(iter(template.values()))
        if not template:
            self.notes.append(
                "The model has no chat template: turns are written as plain text, "
                "'user: ...' and 'assistant: ...', with an empty line between them."
            )
        elif "strftime_now" in template:
            self.notes.append(
                "The model's chat template writes today's date; contrail writes "
                f"{_TODAY:%d %B %Y}, so that prompts are the same every day."
            )
            template = f"{_clock()}\n{template}"
        return template or _PLAIN

    def _find_controls(self) -> None:
        """Find the control tokens: the special ones, and others that the template itself writes."""
        added = self.tokenizer.added_tokens_decoder
        special = {token.content for token in added.values() if token.special}
        special |= set(self.tokenizer.all_special_tokens)
        others = {token.content for token in added.values() if token.content in self._template}
        self._controls = _any_of(special | {name for name in others if not name.isspace()})
        special -= {_OPEN, _CLOSE}
        self._special = _any_of(special)
        self._special_ids = {i for i, token in added.items() if token.content in special}

    def _find_prefix(self) -> list[int]:
        """Return the tokens that the tokenizer puts before a text: in many models, one for its
        beginning."""
        plain = self._encode("a")
        whole: list[int] = self.tokenizer("a")["input_ids"]
        return next(
            (whole[:i] for i in range(len(whole)) if whole[i : i + len(plain)] == plain), []
        )

    def _read_template(self) -> None:
        self._in_parts = self._lost(_USER) and self._lost(_USER, in_parts=True) is False
        if self._lost(_USER):
            raise _unusable("it leaves out what the user says")
        self._system_role = not self._lost(_SYSTEM)
        self._header = ""
        before, after = self._around(_USER)
        padded = self._render([("user", _USER), ("assistant", f" {_ANSWER} "), ("user", _USER)])
        self._trims = padded == before + _ANSWER + after
        prompt = self._render([("user", _USER)])
        self._lead = self._opening = ""
        asked = prompt[prompt.rindex(_USER) :]
        if _OPEN in asked:
            self._opening = asked[asked.index(_OPEN) :]
        if before.startswith(prompt):
            # Text that the template writes before an answer only in hindsight: a blank, its
            # header, or an empty thought.
            self._lead = before[len(prompt) :]
            if self._lead.strip() and _CLOSE not in self._lead:
                self._header, self._lead = self._lead, ""
        elif self._opening and _CLOSE not in prompt:
            self._lead = f"\n{_CLOSE}\n\n"  # an answer without a thought
        beginning = prompt[prompt.rindex(_USER) + len(_USER) :] + self._header
        controls = list(self._controls.finditer(beginning))
        self._before_answer = beginning[controls[-1].start() :] if controls else beginning
        said = after[: after.index(_USER)]
        found = self._controls.search(said)
        self.stop: tuple[str, ...] = ()
        if found:
            self._closing, self._end_text = said[: found.end()], found.group()
            self.end = int(self.tokenizer.convert_tokens_to_ids(found.group()))  # type: ignore[arg-type]
        else:
            self._closing = self._end_text = ""
            if not said.strip():
                raise _unusable("nothing tells the end of a turn of the model")
            self.end = self._encode(after, before=_ANSWER)[0]
            self.stop = (said.rstrip(),)
        eos: Any = self.tokenizer.eos_token_id
        self.ends = {self.end} if found else set()
        self.ends |= {eos} - {None}
        self._compare()

    def _compare(self) -> None:
        """Note where the template would write a conversation otherwise than turn by turn."""
        if self._template == _PLAIN:
            return
        texts = ("Be brief.", "Where?", "Here.", "What now?", "Wait.", "And now?")
        system, *turns = texts
        ids = self.start(system, turns[0])
        for answer, user in zip(turns[1::2], turns[2::2], strict=True):
            ids += [*self.answer(answer), *self.follow(user)]
        if not self._system_role:
            turns[0] = f"{system}\n\n{turns[0]}"
        roles = ["user", "assistant"] * len(turns)
        messages = [*zip(roles, turns, strict=False)]
        if self._system_role:
            messages.insert(0, ("system", system))
        whole = self._encode(self._render(messages) + self._header)
        if whole[: len(self._prefix)] != self._prefix:
            whole = [*self._prefix, *whole]
        if whole != ids:
            self.notes.append(_REWRITES)
        elif self._template_drops():
            self.notes.append(_DROPS)

    def _template_drops(self) -> bool:
        """Return whether the template drops the thoughts of earlier turns."""
        if _CLOSE not in self._template:
            return False
        thought = f"{_OPEN}\n{_SYSTEM}\n{_CLOSE}\n\n{_ANSWER}"
        text = self._render([("user", _USER), ("assistant", thought), ("user", _USER)])
        return _SYSTEM not in text and _ANSWER in text

    def _lost(self, content: str, in_parts: bool | None = None) -> bool:
        """Whether the template leaves out a message: of the system, or of the user."""
        messages = [("user", _USER)]
        if content == _SYSTEM:
            messages.insert(0, ("system", _SYSTEM))
        kept, self._in_parts = self._in_parts, self._in_parts if in_parts is None else in_parts
        try:
            return content not in self._render(messages)
        except Exception:  # a template refuses messages by raising
            if content == _USER and in_parts is None:
                raise
            return True
        finally:
            self._in_parts = kept

    def _around(self, user: str) -> tuple[str, str]:
        """Return the template's text up to an answer, and after it."""
        text = self._render([("user", _USER), ("assistant", _ANSWER), ("user", user)])
        before, found, after = text.partition(_ANSWER)
        if not found:
            raise _unusable("it leaves out what the model says")
        return before, after

    def _as_text(self, content: str, controls: re.Pattern[str] | None = None) -> str:
        """A message in which control tokens, by default all, are marked as text."""
        controls = controls or self._controls
        if not controls.search(content):
            return content
        from transformers.utils.chat_template_utils import mark_control_tokens

        return str(mark_control_tokens(content, controls))

    def _render(self, messages: Sequence[tuple[str, str]]) -> str:
        conversation: Any = self._conversation(messages)
        made: Any = self.tokenizer.apply_chat_template(
            conversation,
            tools=self._tools,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
        )
        return str(made)

    def _conversation(self, messages: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return messages as the template takes them."""
        return [
            {"role": role, "content": [{"type": "text", "text": text}] if self._in_parts else text}
            for role, text in messages
        ]


def _any_of(names: set[str]) -> re.Pattern[str]:
    longest_first = sorted(names - {""}, key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _clock() -> str:
    """Return a macro that replaces transformers' `strftime_now`."""
    directives = [f"%{letter}" for letter in "aAbBcdDeFHIjmMpRSTuUVwWxXyY"]
    directives += [f"%-{letter}" for letter in "dHIjmMS"]
    filters = "".join(f"|replace('{name}', '{_TODAY.strftime(name)}')" for name in directives)
    return "{% macro strftime_now(format) %}{{ format" + filters + " }}{% endmacro %}"


def _unusable(why: str) -> ContrailError:
    return ContrailError(f"the model's chat template cannot be used: {why}")
