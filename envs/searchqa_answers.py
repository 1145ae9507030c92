"""Grading answers, and drawing candidate answers and searches from text."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

LONGEST_ANSWER = 1000  # characters; the rest of a flood of text is not graded
PUNCTUATION = str.maketrans("", "", string.punctuation)
# A full stop after one of these, or after a single capital, ends no sentence.
SHORT = "St|Jr|Sr|Dr|Mr|Ms|Mt|Lt"
TOKEN = re.compile(rf"\b(?:{SHORT}|[A-Z])\.(?=\s)|[^\W_](?:[\w'’&.,\-–/]*[^\W_])?|\S")
SENTENCE = re.compile(rf"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b(?:{SHORT})\.)\s+(?=[^\W_\d\s])")
# Words that may stand within a name: "Bank of the West", "Ludwig van Beethoven".
LINKS = frozenset("of the and & de la le du da do dos del der von van di el al".split())  # noqa: SIM905
# Words that are capitalised only because they begin a sentence.
OPENERS = frozenset(
    """
    the a an it its he she his her they their this that these those in on at of for from with by as
    and but or if is are was were be who what which when where why how did does do has have had can
    name there after before during while although however since also both one i you we my our
    between among many much
    """.split()  # noqa: SIM905 (a literal would take many lines)
)
NAMED = 6  # candidate answers that the question itself may name: "Which is older, X or Y?"
YES_NO = re.compile(
    r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Question:
    """A question, its right answers (the first is the one to give), and where they stand.

    `gold` are the places in the corpus of the documents that one needs, in order.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    difficulty: str | int | None


def normalise(text: str) -> str:
    """SQuAD's (arXiv:1606.05250): lower case, without punctuation, articles and extra spaces."""
    plain = text[:LONGEST_ANSWER].lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", plain).split())


def exact_match(answer: str, right: Iterable[str]) -> bool:
    """Whether the answer is one of the right ones, both normalised."""
    given = normalise(answer)
    # A right answer of articles or signs alone ("A", "%") is compared as it is written.
    return any(given == normalise(one) if given else answer.strip() == one for one in right)


def f1(answer: str, right: Iterable[str]) -> float:
    """The best overlap of words with a right answer: SQuAD's F1, with HotpotQA's rule for yes/no.

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
    """Names and numbers of a text, each once, in their order.

    Names that are joined by a comma or by "and" stand apart and together: Paris, Texas.
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
    """What could be the answer: names and numbers of the documents, the likeliest first.

    Those come first that stand in sentences which share many words with the question, rare words
    above all; of equal ones those of the documents that come first. What the question itself names
    comes last.
    """
    sentences = [sentence for text in documents for sentence in SENTENCE.split(text)]
    words = [frozenset(normalise(sentence).split()) for sentence in sentences]
    times = Counter(word for each in words for word in each)
    asked = frozenset(normalise(question).split())
    shared = [sum(1 / times[word] for word in sorted(asked & each)) for each in words]
    order = sorted(range(len(sentences)), key=lambda place: -shared[place])
    named = spans(question)
    known = {normalise(span) for span in named}
    ranked = [span for place in order for span in spans(sentences[place])]
    new = [span for span in ranked if normalise(span) not in known]
    yes_no = ["yes", "no"] if YES_NO.match(question.strip()) else []
    room = max(0, most - len(yes_no) - NAMED)
    return _unique([*yes_no, *_unique(new)[:room], *named, *new])[:most]


def candidate_searches(
    question: str, names: Iterable[str], titles: Container[str], most: int
) -> list[str]:
    """What one could search for: the question, the names in it, and then other names.

    Args:
        question: the words of the question.
        names: what else was read of, in order of preference; bare numbers are left out.
        titles: titles of documents in `plain_title`'s form; names that are one come first.
        most: at most so many are returned.
    """
    words = [name for name in names if not name[0].isdigit() and name not in ("yes", "no")]
    words.sort(key=lambda name: plain_title(name) not in titles)
    return _unique([question, *spans(question), *words])[:most]


def plain_title(title: str) -> str:
    """A title without what tells it from others of the name: "Charmed (TV series)" is charmed."""
    return normalise(re.sub(r"\s*\(.*\)$", "", title))


def _unique(texts: Iterable[str]) -> list[str]:
    """The texts that differ by more than spelling, without empty ones."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(normalise(text), text)
    found.pop("", None)
    return list(found.values())
