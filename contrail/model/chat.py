"""Messages to token ids, each encoded once and appended to what is already there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from contrail.errors import ContrailError

# Stands in for the model's turn when the template around it is read; no tokenizer sees it.
_ANSWER = "\x00answer\x00"

# For models that come without a chat template.
_PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


class Chat:
    """The chat format of one model, in token ids.

    `end`: the token that closes a model's turn. Whether the model wrote it or was cut off before
    it, it stands between the turn and what `follow` gives. `ends`: the tokens that stop free text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._template = tokenizer.chat_template or _PLAIN
        self._texts: dict[str, list[int]] = {}
        self._system_role = True
        try:
            self._render([{"role": "system", "content": "-"}, {"role": "user", "content": "-"}])
        except TemplateError:
            self._system_role = False
        try:
            self.end = self._after("-")[0]
        except (TemplateError, ValueError, IndexError) as error:
            raise ContrailError(f"the model's chat template cannot be used: {error}") from error
        self.ends = {self.end, tokenizer.eos_token_id}

    def start(self, system: str, user: str) -> list[int]:
        """The beginning of an episode, up to where the model writes."""
        if system and self._system_role:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        else:
            messages = [{"role": "user", "content": f"{system}\n\n{user}" if system else user}]
        return self._encode(self._render(messages))

    def follow(self, user: str) -> list[int]:
        """From after the end of the model's turn to where it writes again."""
        ids = self._after(user)
        if ids[0] != self.end:
            raise ContrailError("the model's chat template does not close every turn alike")
        return ids[1:]

    def answer(self, text: str) -> list[int]:
        """A whole turn of the model, with its end."""
        return [*self._encode(text), self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """What the model wrote, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _after(self, user: str) -> list[int]:
        messages = [
            {"role": "user", "content": "-"},
            {"role": "assistant", "content": _ANSWER},
            {"role": "user", "content": user},
        ]
        text = self._render(messages)
        return self._encode(text[text.index(_ANSWER) + len(_ANSWER) :])

    def _render(self, messages: list[dict[str, str]]) -> str:
        made: Any = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
        )
        return str(made)

    def _encode(self, text: str) -> list[int]:
        # Candidate actions and observations recur by the thousand within a run.
        # Half a surrogate pair is no character, and tokenizers refuse it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        known = self._texts.get(text)
        if known is None:
            if len(self._texts) > 100_000:
                self._texts.clear()
            known = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            self._texts[text] = known
        return list(known)
