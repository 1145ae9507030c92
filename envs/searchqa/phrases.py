"""Phrases of texts whose names no capital letter marks: lower case, and scripts without case."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Letters of scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# All characters that end a word, unless inside one. Python's \w takes vowel signs for an end.
SIGNS = (
    "\\s!-/:-@\\[-`{-\u00bf\u060c\u061b\u061f\u06d4\u0964\u0965\u2000-\u206f\u3000-\u3004"
    "\u3008-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
LETTER = re.compile(f"[{UNSPACED}]")
WORD = re.compile(
    rf"[{UNSPACED}]|[^{SIGNS}{UNSPACED}](?:[^{SIGNS}{UNSPACED}]|['’&.,\-–/](?=[^{SIGNS}{UNSPACED}]))*"
)
# Words that may be within a name: "Bank of the West", "Ludwig van Beethoven".
LINKS = frozenset("of the and & de la le du da do dos del der von van di el al".split())  # noqa: SIM905
# Words that are no part of a name; a name may begin a sentence with one of them, in a capital.
OPENERS = frozenset(
    """
    the a an it its he she his her they their this that these those in on at of for from with by as
    and but or if is are was were be who what which when where why how did does do has have had can
    name there after before during while although however since also both one i you we my our
    between among many much
    """.split()  # noqa: SIM905 (a literal would take many lines)
)
# In Chinese and Japanese the like are single letters.
PARTICLES = frozenset("的是在了与與为為於于有被はがをにでの")
SHARED_LETTERS = 3
LONGEST_STRETCH = 4  # words, or letters where no space parts words
LONGEST_PHRASE = 60  # characters


def spaced(text: str) -> str:
    """Return the text, if it is of a script without spaces, with each letter as a word.

    A foreign name within another text stays as it is.
    """
    if 2 * len(LETTER.findall(text)) < len(text):
        return text
    return LETTER.sub(r" \g<0> ", text)


def phrases(text: str, asked: str = "") -> list[str]:
    """Return the stretches of a text that could be names, each once: whole pieces first.

    Args:
        text: it is split at signs, at words that no name has, and at the words of `asked`: in "the
            capital of Peru is Lima" only Lima is new.
        asked: the question.
    """
    pieces = list(_pieces(text, asked))
    found = [text[piece[0].start() : piece[-1].end()] for piece in pieces]
    for length in range(1, LONGEST_STRETCH + 1):
        for piece in pieces:
            for place in range(len(piece) - length + 1):
                first, last = piece[place], piece[place + length - 1]
                if LINKS.isdisjoint((first[0].lower(), last[0].lower())) and not (
                    length == 1 and LETTER.match(first[0])
                ):
                    found.append(text[first.start() : last.end()])
    return [one for one in dict.fromkeys(found) if len(one) <= LONGEST_PHRASE]


def _pieces(text: str, asked: str) -> Iterator[list[re.Match[str]]]:
    """Runs of words that may be, or hold, a name."""
    words = list(WORD.finditer(text))
    low = [word[0].lower() for word in words]
    known = WORD.findall(asked.lower())
    single = frozenset(known)
    # A single letter means little: this many in a row must be in the question, too.
    shared = {place + more for place in _runs(low, known) for more in range(SHARED_LETTERS)}
    piece: list[re.Match[str]] = []
    for place, (word, one) in enumerate(zip(words, low, strict=True)):
        if piece and text[piece[-1].end() : word.start()].strip():
            yield from _trimmed(piece)
            piece = []
        if LETTER.match(one):
            old = one in PARTICLES or place in shared
        else:
            old = one not in LINKS and (one in OPENERS or one in single)
        if old:
            yield from _trimmed(piece)
            piece = []
        else:
            piece.append(word)
    yield from _trimmed(piece)


def _runs(words: list[str], known: list[str]) -> list[int]:
    """Return where `length` words begin that follow each other in `known`, too."""
    size = SHARED_LETTERS
    there = {tuple(known[place : place + size]) for place in range(len(known) - size + 1)}
    return [place for place in range(len(words)) if tuple(words[place : place + size]) in there]


def _trimmed(piece: list[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    while piece and piece[-1][0].lower() in LINKS:
        piece = piece[:-1]
    while piece and piece[0][0].lower() in LINKS:
        piece = piece[1:]
    if piece:
        yield piece
