"""Names as they are shown: names of authors and users are text, never markup."""

from __future__ import annotations

import unicodedata
from typing import Any

# They turn the direction of what follows them.
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
_UNSEEN = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control characters, half surrogates, line ends


def visible(name: object) -> str:
    r"""Return a name on one line, with escapes for characters that act instead of being seen:
    "a\nb"."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(
        repr(letter)[1:-1] if letter in _BIDI or unicodedata.category(letter) in _UNSEEN else letter
        for letter in text
    )


def visible_lines(text: str) -> str:
    """Return a text with each of its lines as `visible` shows it."""
    return "\n".join(map(visible, text.split("\n")))


def visible_names(value: Any) -> Any:
    """JSON values in which every text, keys included, is as `visible` shows it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_names(key): visible_names(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible_names(item) for item in value]
    return value
