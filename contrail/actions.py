"""How actions are read in a model's words, and listed for it: one rule for all adapters and
environments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
_AROUND = "`* \t\r\n"
_BULLET = re.compile(r"[-•>]\s+(?=\S)")
LONGEST = 10_000  # characters; a flood of text is no action, whatever stands around it
_FIRST = re.compile(r"[^\W_]")


def read_action(text: str, listed: Iterable[str] = ()) -> str:
    """Return an action without what models write around it.

    Surrounding blanks, quotes, backticks and asterisks go, and so do a list's dash at the beginning
    and `.`, `!`, `,` or `;` at the end; except the full stop of an ellipsis, or after another one
    ("a.m."). Of the listed actions, the one is taken that differs only in capitals, blanks and
    surrounding signs. What stands between the first and the last letter is never changed otherwise.

    Args:
        text: the model's words for one action.
        listed: the admissible actions, if they are known.

    Returns:
        The action, as listed if it is; "" if nothing is left.
    """
    text = text.strip()
    listed = [*listed]
    if (text and text in listed) or len(text) > LONGEST:
        return text
    bare = _bare(text)
    for wanted in (text.casefold(), bare.casefold()):
        for action in listed:
            if wanted and action.casefold() == wanted:
                return action
    core = _core(bare)
    alike = [action for action in listed if core and _core(action) == core]
    return alike[0] if len(alike) == 1 else bare


def _bare(text: str) -> str:
    while True:
        before = text
        text = text.strip(_AROUND)
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
            text = text[1:-1]
        text = _BULLET.sub("", text, count=1) if _BULLET.match(text) else text
        words = text.split()
        last = words[-1] if words else ""
        stop = last.endswith(".") and "." not in last[:-1]
        if stop or (len(text) > 1 and text[-1] in ",;!"):
            text = text[:-1]
        if text == before:
            return text


def _core(text: str) -> str:
    """Return the text from its first letter or digit to its last, in lower case; the sign of a
    number stays ("-1")."""
    text = " ".join(text.casefold().split())
    first = _FIRST.search(text)
    if first is None:
        return ""
    start, end = first.start(), len(text)
    while not _FIRST.match(text[end - 1]):
        end -= 1
    if first[0].isdigit() and start and text[start - 1] in "+-.\u2212":
        start -= 1
    return text[start:end]


def list_actions(actions: Sequence[str]) -> str:
    """Return actions as a text to follow a colon: " look, go north", or each on a new line if one
    of them has a comma itself."""
    if any("," in action for action in actions):
        return "".join(f"\n{action}" for action in actions)
    return f" {', '.join(actions)}"
