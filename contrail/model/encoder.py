"""Texts to token ids."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

_MARK = "\U000f0000"  # with which transformers marks text that only looks like a control token
_MOST_TEXTS = 100_000  # whose token ids are kept


class Encoder:
    """Encodes texts, and keeps the token ids of those it has met."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, str], list[int]] = {}

    def __call__(self, text: str, before: str = "") -> list[int]:
        """Return the token ids of a text, as they are after another text."""
        known = self._known.get((before, text))
        if known is None:
            # Candidate actions and observations recur by the thousand within a run.
            if len(self._known) > _MOST_TEXTS:
                self._known.clear()
            head = self.tokens(before) if before else []
            known = self.tokens(before + text)
            # If the two would merge, the text stays separate: written tokens do not change.
            fits = known[: len(head)] == head
            known = known[len(head) :] if fits else self.tokens(text)
            self._known[before, text] = known
        return list(known)

    def tokens(self, text: str) -> list[int]:
        """Return the token ids of a text that is not kept."""
        # Half a surrogate pair is no character, and tokenizers refuse it.
        text = text.encode("utf-8", "replace").decode("utf-8")
        if _MARK not in text:
            ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        from transformers.utils.chat_template_utils import encode_marked_chat

        try:
            return encode_marked_chat(self._tokenizer, text)
        except ValueError:
            # The vocabulary has the token as a word: break it, and it is no longer one.
            broken = re.sub(f"{_MARK}(.)", rf"\1{_MARK}", text)
            return encode_marked_chat(self._tokenizer, broken)
