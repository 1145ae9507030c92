"""The search of WebShop's server: BM25 as Lucene computes it, with pyserini's settings."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import regex
import Stemmer

K1, B = 0.9, 0.4
# Unicode's words as Lucene divides texts into them; a picture (of Unicode 12) is a word too.
LETTER = r"[\p{Alphabetic}\p{M}\p{Nd}_]"
PICTURE = (
    r"(?:\p{Extended_Pictographic}|[\u2600-\u2605\u2607-\u2612\u2614-\u2685\u2690-\u2705"
    r"\u2708-\u2712\u2763-\u2767])\ufe0f?"
)
TOKEN = regex.compile(
    rf"{LETTER}+(?:(?:(?<=\p{{L}})[.:'\u2018\u2019\u00b7\uff1a](?=\p{{L}})"
    rf"|(?<=\p{{Nd}})[.,;'\u2018\u2019\u2044](?=\p{{Nd}})){LETTER}+)*"
    rf"|{PICTURE}(?:\u200d{PICTURE})*"
)
POSSESSIVE = re.compile("['\u2019]s$")
STOP_WORDS = frozenset(
    """
    a an and are as at be but by for if in into is it no not of on or such that the their then there
    these they this to was will with
    """.split()  # noqa: SIM905 (a literal would take many lines)
)
PORTER = Stemmer.Stemmer("porter")


class LuceneIndex:
    """An index of texts, whose scores are rounded where Lucene rounds them.

    Args:
        texts: the documents, in English.
        names: of the documents; of equally good ones the first by name comes first.
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str]) -> None:
        order = sorted(range(len(names)), key=lambda place: names[place])
        self._ranks = np.empty(len(names), int)
        self._ranks[order] = np.arange(len(names))
        counts = [Counter(terms(text)) for text in texts]
        lengths = [count.total() for count in counts]
        mean = np.float32(sum(lengths) / max(1, len(texts)))
        rounded = np.array([rounded_length(length) for length in lengths], np.float32)
        norms = np.float32(K1) * (np.float32(1 - B) + np.float32(B) * rounded / mean)
        self._inverse = np.float32(1) / norms
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, count in enumerate(counts):
            for term, times in count.items():
                found[term].append((place, times))
        self._found = {term: np.array(pairs) for term, pairs in found.items()}

    def search(self, query: str, count: int) -> list[int]:
        """Return the indices of the best documents, best first."""
        total = len(self._inverse)
        scores = np.zeros(total)
        for term, times in Counter(terms(query)).items():
            if term in self._found:
                places, frequencies = self._found[term].T
                odds = (total - len(places) + 0.5) / (len(places) + 0.5)
                weight = np.float32(times) * np.float32(math.log(1 + odds))
                relative = frequencies.astype(np.float32) * self._inverse[places]
                scores[places] += weight - weight / (np.float32(1) + relative)
        best = np.lexsort((self._ranks, -scores.astype(np.float32)))[:count]
        return [int(place) for place in best if scores[place] > 0]


def rounded_length(length: int) -> int:
    """Return a document's length as one byte holds it: exact up to 40, then with four bits."""
    above = max(0, length - 24)
    shift = max(0, above.bit_length() - 4)
    return length - above + (above >> shift << shift)


def terms(text: str) -> list[str]:
    """Return the terms of a text as Lucene's analyzer for English does."""
    words = (POSSESSIVE.sub("", word) for word in TOKEN.findall(text.lower()))
    return [stem(word) for word in words if word not in STOP_WORDS and word.strip("_\uff9e\uff9f")]


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return Porter's stem with the changes he made to the published algorithm, as in Lucene."""
    if len(word) <= 2:
        return word
    short: str = PORTER.stemWord(word)
    if short.endswith("logi"):
        return short[:-1]
    again: str = PORTER.stemWord(f"{short[:-1]}e") if short.endswith("bli") else short
    return again
