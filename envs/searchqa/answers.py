"""Grading answers, and drawing candidate answers and searches from text."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

from contrail.envs.searchqa.phrases import LINKS, OPENERS, phrases, spaced

LONGEST = 1000  # characters of a search or answer; the rest of a flood is not looked at
PUNCTUATION = str.maketrans("", "", string.punctuation)
# A full stop after one of these, or after a single capital, ends no sentence.
SHORT = "St|Jr|Sr|Dr|Mr|Ms|Mt|Lt"
TOKEN = re.compile(rf"\b(?:{SHORT}|[A-Z])\.(?=\s)|[^\W_](?:[\w'’&.,\-–/]*[^\W_])?|\S")
SENTENCE = re.compile(  # the last part: full stops that no space follows, of other scripts
    rf"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b(?:{SHORT})\.)\s+(?=[^\W_\d\s])|(?<=[\u3002\uff01\uff1f\u061f\u06d4\u0964])\s*"
)
NAMED = 6  # candidates that the question itself may name: "Which is older, X or Y?"
FEW = 6  # candidates; where names make no more, what is no name may be the answer
YES_NO = re.compile(
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Question:
    """A question, its right answers (the first is the one to give), and their documents.

    `gold` are the indices of the necessary documents in the corpus, in order. `facts` identify the
    content of the question, as far as the data allow; questions that share a fact ask the same.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    difficulty: str | int | None
    facts: tuple[str, ...] = ()


def normalise(text: str) -> str:
    """SQuAD's (arXiv:1606.05250): lower case, without punctuation, articles and extra spaces."""
    plain = text[:LONGEST].lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", plain).split())


def exact_match(answer: str, right: Iterable[str]) -> bool:
    """Return whether the answer is one of the right ones, both normalised."""
    given = normalise(answer)
    # A right answer of articles or signs alone ("A", "%") is compared as it is written.
    return any(given == normalise(one) if given else answer.strip() == one for one in right)


def f1(answer: str, right: Iterable[str]) -> float:
    """Return the best overlap of words with a right answer: SQuAD's F1, with HotpotQA's rule for
    yes/no.

    The rule (arXiv:1809.09600): yes, no and noanswer are right or wrong, with nothing in between.
    """
    return max((_f1(normalise(answer), normalise(one)) for one in right), default=0.0)


def _f1(given: str, right: str) -> float:
    if given != right and {given, right} & {"yes", "no", "noanswer"}:
        return 0.0
    one, other = given.split(), right.split()
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / (len(one) + len(other)) if shared else 0.0


def spans(text: str) -> list[str]:
    """Return the names and numbers of a text, each once, in their order.

    Names that are joined by a comma or by "and" are listed apart and together: Paris, Texas.
    """
    found: dict[str, None] = {}
    run: list[str] = []
    before = ""  # the name that ends at the comma just passed

    def end(comma: bool = False) -> None:
        nonlocal before
        while run and run[-1].lower() in LINKS:
            run.pop()
        name = " ".join(run)
        parts = [part for part in re.split(r" (?:and|&) ", name) if not _opens(part)]
        numbers = [word for word in run if word[0].isdigit()]
        run.clear()
        for one in (*parts, name, f"{before}, {name}" if before and name else "", *numbers):
            if one and not _opens(one):
                found[one] = None
        before = name if comma else ""

    for token in TOKEN.findall(text):
        word = token.removesuffix("'s").removesuffix("’s")
        named = token[0].isupper() or token[0].isdigit()
        if named and (run or not _opens(word)):
            run.append(word)
            if word != token:
                end()
        elif not named and run and token.lower() in LINKS and not run[-1][0].isdigit():
            run.append(token)
        elif not named:
            end(comma=token == ",")
    end()
    return list(found)


def _opens(word: str) -> bool:
    # In capitals it is something else: US, ARE.
    return word.lower() in OPENERS and not (len(word) > 1 and word.isupper())


def candidate_answers(question: str, documents: Sequence[str], most: int) -> list[str]:
    """Return possible answers, the likeliest first: names and numbers of the documents.

    First come those in sentences that share many words with the question, weighted by rarity; among
    equal ones, those of earlier documents. Names in the question itself come last. Without
    capitals, which mark names, phrases take their place; if there are few names, phrases follow
    them.
    """
    sentences = [part for text in documents for part in SENTENCE.split(_unshouted(text))]
    words = [frozenset(normalise(spaced(sentence)).split()) for sentence in sentences]
    times = Counter(word for each in words for word in each)
    asked = frozenset(normalise(spaced(question)).split())
    shared = [sum(1 / times[word] for word in sorted(asked & each)) for each in words]
    order = sorted(range(len(sentences)), key=lambda place: -shared[place])
    named = _named(question)
    known = {normalise(span) for span in named}

    def unknown(drawn: Callable[[str], list[str]]) -> list[str]:
        ranked = [span for place in order for span in drawn(sentences[place])]
        return [span for span in ranked if normalise(span) not in known]

    def told(sentence: str) -> list[str]:
        return phrases(sentence, question)

    new = unknown(lambda sentence: spans(sentence) if _cased(sentence) else told(sentence))
    if len(_unique([*named, *new])) < FEW:
        new += unknown(told)
    yes_no = ["yes", "no"] if YES_NO.match(question.strip()) else []
    room = max(0, most - len(yes_no) - NAMED)
    return _unique([*yes_no, *_unique(new)[:room], *named, *new])[:most]


def candidate_searches(
    question: str, names: Iterable[str], titles: Container[str], most: int
) -> list[str]:
    """Return possible searches: the question, the names in it, and then other names.

    Args:
        question: the words of the question.
        names: names read elsewhere, in order of preference; bare numbers are left out.
        titles: titles of documents in `plain_title`'s form; names that are titles come first.
        most: the largest number of searches.
    """
    words = [name for name in names if not name[0].isdigit() and name not in ("yes", "no")]
    words.sort(key=lambda name: plain_title(name) not in titles)
    asked = query(question)
    # `_unique` leaves nothing of a question that consists of signs.
    return _unique([asked, *_named(question), *words])[:most] or [asked]


def query(question: str) -> str:
    """Return the question as one searches for it: of a very long one the end, which mostly asks."""
    return question[-LONGEST:].strip()


def _named(question: str) -> list[str]:
    question = _unshouted(question)
    return spans(question) if _cased(question) else phrases(question)[:NAMED]


def _cased(text: str) -> bool:
    """Return whether it has capital letters; without any, capitals mark nothing."""
    return text != text.lower()


def _unshouted(text: str) -> str:
    """Return the text; in lower case, if it consists of capitals, which then mean nothing."""
    return text.lower() if text.isupper() else text


def plain_title(title: str) -> str:
    """Return a title without its disambiguation: "Charmed (TV series)" is charmed."""
    return normalise(re.sub(r"\s*\(.*\)$", "", title))


def _unique(texts: Iterable[str]) -> list[str]:
    """Return the texts that differ by more than spelling, without empty and endless ones."""
    found: dict[str, str] = {}
    for text in texts:
        if len(text) <= LONGEST:
            found.setdefault(normalise(text), text)
    found.pop("", None)
    return list(found.values())
