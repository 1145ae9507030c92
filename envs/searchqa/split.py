"""The questions of searchqa for training and for testing: no fact is asked on both sides.

Two questions ask the same if their words are the same, or if they share a fact: a supporting
sentence (HotpotQA), a single question of their combination (MuSiQue), or else a paragraph and the
answer in it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from contrail import ConfigError
from contrail.envs.searchqa.answers import Question
from contrail.envs.shared.families import families

TEST_SHARE = 0.2
TEST_FILE = re.compile(r"(?:^|[^a-z])(?:dev|valid|validation|test)(?:[^a-z]|$)", re.IGNORECASE)
TRAIN_FILE = re.compile(r"(?:^|[^a-z])train(?:[^a-z]|$)", re.IGNORECASE)

Key = tuple[str, ...]


def split_questions(
    by_file: Mapping[str, Sequence[Question]], data: str
) -> dict[str, dict[str, Question]]:
    """Split questions by the files' names if these name both splits; else take a fifth for testing.

    Each question, by its words, is listed once. A benchmark's own two files contain questions that
    partly resemble each other; only those that ask entirely the same are left out of training.

    Args:
        by_file: the questions by the name of their file.
        data: the setting, for messages.

    Raises:
        ConfigError: no question is left to train on.
    """
    tests = [
        question for name, its in by_file.items() if TEST_FILE.search(name) for question in its
    ]
    rest = [q for name, its in by_file.items() if not TEST_FILE.search(name) for q in its]
    told = bool(tests) and any(map(TRAIN_FILE.search, by_file))
    if told:
        known = {key for question in tests for key in _same(question)}
        train = [question for question in rest if known.isdisjoint(_same(question))]
    else:
        rest = [*tests, *rest]
        tests, train = _drawn(rest)
    split: dict[str, dict[str, Question]] = {"train": {}, "test": {}}
    asked: set[str] = set()
    taken: set[str] = set()
    for part, questions in (("test", tests), ("train", train)):
        for question in questions:
            words, name = question.text.casefold(), question.id
            if words in asked:
                continue
            # Repeated ids (sub-questions, two files) are distinguished by the words.
            if name in taken:
                name += f"-{hashlib.sha256(words.encode()).hexdigest()[:8]}"
            asked.add(words)
            taken.add(name)
            split[part][name] = question
    if not split["train"]:
        why = "it has one question, and that is for testing. Add others."
        if told:
            why = (
                "all that its training files ask stands in its test files, too. Give them "
                "questions of their own, or give one file, of which a fifth is drawn for testing."
            )
        elif len(rest) > 1:
            why = "all its questions ask for the same facts. Add others."
        raise ConfigError(f"searchqa: data: {data} leaves no question to train on: {why}")
    return split


def _drawn(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Return a fifth for testing, in groups that share no fact with others; the rest for
    training."""
    by_words = {question.text.casefold(): question for question in questions}
    room = max(1, round(len(by_words) * TEST_SHARE))
    groups = sorted(families([*by_words.values()], _keys), key=lambda group: min(map(_lot, group)))
    tests: set[str] = set()
    for group in groups:
        if len(group) <= room - len(tests):
            tests.update(question.text.casefold() for question in group)
    if not tests:  # all hang together: what shares a fact with a test question is left out
        tests.update(sorted(by_words, key=lambda words: _lot(by_words[words]))[:room])
    known = {key for words in tests for key in _keys(by_words[words])}
    return (
        [question for words, question in by_words.items() if words in tests],
        [question for question in by_words.values() if known.isdisjoint(_keys(question))],
    )


def _keys(question: Question) -> Iterator[Key]:
    """Return the facts it asks: questions that share one belong on the same side."""
    yield from _wordings(question)
    for fact in question.facts:
        yield "fact", fact


def _same(question: Question) -> Iterator[Key]:
    """Return its full content: questions that share this are one question."""
    yield from _wordings(question)
    if question.facts:
        yield "facts", *sorted(question.facts), _plain(question.answers[0])


def _wordings(question: Question) -> Iterator[Key]:
    yield "text", question.text.casefold()
    if plain := _plain(question.text):
        yield "words", plain, _plain(question.answers[0])


def _plain(text: str) -> str:
    """Return the words alone: marks between them, capitals and articles make no other question."""
    words = re.findall(r"\w+", text.casefold())
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def _lot(question: Question) -> tuple[bytes, str]:
    """Return the position of a question in the draw for testing: by its words, in a random
    order."""
    words = question.text.casefold()
    return hashlib.sha256(_plain(words).encode()).digest(), words
