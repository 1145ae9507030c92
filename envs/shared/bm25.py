"""BM25 search over a list of texts, the same in every process; shared by webshop and searchqa."""

from __future__ import annotations

import re
from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer

LONGEST_QUERY = 1000  # characters; the rest of a flood of text is not looked at
WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    """
    a an and are as at be but by for from if in into is it its me my no not of on or s such that
    the their then there these they this to was were will with i am
    """.split()  # noqa: SIM905 (a literal would take many lines)
)


class Index:
    """Lucene's BM25 over English word stems, by bm25s and PyStemmer.

    Args:
        texts: the documents; any language, but stemmed as English.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        # bm25s numbers words by a set's order, which differs from process to process, and with it
        # the rounding of scores; so the words are numbered here.
        self._numbers = {"": 0}
        documents = [
            [self._numbers.setdefault(stem, len(self._numbers)) for stem in self._stems(text)]
            for text in texts
        ]
        self._bm25 = bm25s.BM25()
        if len(self._numbers) > 1:
            self._bm25.index((documents, self._numbers), show_progress=False)

    def search(self, query: str, count: int) -> list[int]:
        """Return the indices of the best documents, best first; only those that share a word.

        Among equal ones, the first in the list comes first.
        """
        stems = self._stems(query[:LONGEST_QUERY])
        known = [self._numbers[stem] for stem in stems if stem in self._numbers]
        if not known:
            return []
        scores = self._bm25.get_scores(known)
        best = np.argsort(-scores, kind="stable")[:count]
        return [int(place) for place in best if scores[place] > 0]

    def _stems(self, text: str) -> list[str]:
        words = WORD.findall(text.lower())
        # A text of stop words alone is searched unchanged: "The Who", "It".
        kept = [word for word in words if word not in STOP_WORDS] or words
        stems: list[str] = self._stemmer.stemWords(kept)
        return stems
