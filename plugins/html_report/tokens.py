"""The text of token ids: what the model saw and wrote, token by token."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WINDOW = 16
"""Tokens before one that can change its text."""


class TokenTexts:
    """Decodes the token ids of a run's episodes.

    Args:
        tokenizer: of the run's model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.candidate = functools.lru_cache(maxsize=100_000)(self._candidate)
        self._token = functools.cache(lambda token: self.text([token]))

    @classmethod
    def of_run(cls, directory: Path) -> TokenTexts | None:
        """Return that of a run, or None if the tokenizer's file is not on this computer."""
        from tokenizers import Tokenizer

        file = _tokenizer_file(directory)
        return None if file is None else cls(Tokenizer.from_file(str(file)))

    def text(self, ids: Sequence[int]) -> str:
        """Return a text with its special tokens."""
        decoded: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return decoded

    def _candidate(self, ids: tuple[int, ...]) -> str:
        decoded: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return decoded.strip()

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Return pieces of text whose concatenation is the text, each with its number of tokens.

        A letter of several tokens is one piece.
        """
        alone = [self._token(token) for token in ids]
        if "".join(alone) == self.text(ids):  # nearly always, and much quicker
            return [(piece, 1) for piece in alone]
        made: list[tuple[str, int]] = []
        start = end = 0
        while end < len(ids):
            end += 1
            context = ids[max(0, start - WINDOW) : start]
            before, whole = self.text(context), self.text([*context, *ids[start:end]])
            if whole.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids):
                continue
            made.append((whole[len(before) :], end - start))
            start = end
        return made


def _tokenizer_file(directory: Path) -> Path | None:
    """Return tokenizer.json of the base model that a run's checkpoints name."""
    for file in sorted(directory.glob("checkpoints/*/adapter_config.json")):
        try:
            base = json.loads(file.read_text()).get("base_model_name_or_path")
        except (OSError, ValueError):
            continue  # another checkpoint says the same
        if not base:
            continue
        local = Path(base) / "tokenizer.json"
        if local.is_file():
            return local
        if Path(base).is_absolute():
            return None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(base, "tokenizer.json")  # never asks the network
        return Path(found) if isinstance(found, str) else None
    return None
