"""Questions and documents from files in the layout of HotpotQA, MuSiQue and their relatives."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from contrail import ConfigError
from contrail.envs.searchqa.answers import LONGEST, Question, plain_title
from contrail.envs.searchqa.layouts import (
    ANSWERS,
    PARAGRAPHS,
    QUESTIONS,
    TEXTS,
    LayoutError,
    answers_of,
    document_of,
    documents_of,
    first,
    lowered,
    shown,
    shown_keys,
    text_of,
    unanswerable,
    unpacked,
)
from contrail.envs.searchqa.phrases import spaced
from contrail.envs.searchqa.split import split_questions
from contrail.envs.shared.bm25 import Index
from contrail.envs.shared.data_files import data_files, read_json

ALONE = "questions bring no paragraphs, and there is no corpus beside them"
EMPTY = "documents have no text"
WHERE = (
    "It must be a JSON or JSON-lines file, plain or gzipped, or a directory of them: questions "
    "with `question` and `answer` that bring their paragraphs along (HotpotQA: hotpotqa.github.io; "
    "MuSiQue: github.com/StonyBrookNLP/musique), or a corpus of `title` and `text` beside them. "
    "Leave `data` out for generated questions."
)


@dataclass(frozen=True)
class Library:
    """The documents (title, text), the search over them, and the questions of each split by id."""

    documents: tuple[tuple[str, str], ...]
    index: Index
    titles: frozenset[str]
    """Of all documents, in `plain_title`'s form."""
    questions: dict[str, dict[str, Question]]
    notes: tuple[str, ...] = ()
    """What of the data is left out or empty, and why."""

    def search(self, words: str, count: int) -> list[int]:
        """Return the places of the best documents, best first."""
        words = words[:LONGEST]
        letters = spaced(words)
        return self.index.search(words if letters == words else f"{letters} {words}", count)


Split = Callable[[Mapping[str, Sequence[Question]], str], dict[str, dict[str, Question]]]


@lru_cache(maxsize=4)
def load_library(data: str, split_questions: Split = split_questions) -> Library:
    """Return the library of a file or directory, or the generated one; the same for all instances.

    Args:
        data: the setting.
        split_questions: divides the questions, by their file, into those of each split by task id.

    Raises:
        ConfigError: there is no usable file, or a file cannot be read.
    """
    if data:
        documents, questions, left = _read(Path(data).expanduser())
    else:
        from contrail.envs.searchqa.facts import generate

        documents, questions = generate()
        left = Counter()
    # The title counts twice: it is mostly what one searches for.
    index = Index([spaced(f"{title} {title} {text}") for title, text in documents])
    titles = frozenset(plain_title(title) for title, _ in documents)
    split = split_questions(questions, data)
    notes = _notes(left, [q for its in questions.values() for q in its], split)
    return Library(tuple(documents), index, titles, split, notes)


def _notes(
    left: Counter[str], questions: Sequence[Question], split: Mapping[str, Mapping[str, Question]]
) -> tuple[str, ...]:
    """Return a sentence about the questions that are left out, and ones about what is missing."""
    asked = {question.text.casefold() for question in questions}
    kept = sum(map(len, split.values()))
    if kept < len(questions):
        left["asked twice"] += len(questions) - len(asked)
        left["that share a fact with a test question"] += len(asked) - kept
    apart = {why: left.pop(why) for why in (ALONE, EMPTY) if left[why]}
    notes = [f"{what}: {count}" for what, count in apart.items()]
    return (*notes, f"left out: {told(left)}") if left.total() else tuple(notes)


class _Corpus:
    """Documents by their place, each once."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, str]] = []
        self._places: dict[tuple[str, str], int] = {}
        self._titled: dict[str, int] = {}

    def add(self, title: str, text: str) -> int | None:
        """Return the index of a document, which is new or known; None for an empty one."""
        document = (title, text)
        if not any(document):
            return None
        if document not in self._places:
            self._places[document] = len(self.documents)
            self._titled.setdefault(title, len(self.documents))
            self.documents.append(document)
        return self._places[document]

    def titled(self, title: str) -> int | None:
        """Return the first document of a title."""
        return self._titled.get(title)


@dataclass(frozen=True)
class _Record:
    """A record of a file, with its keys in lower case."""

    fields: Mapping[str, Any]
    place: str
    """The file and the number of the record, for messages."""


def _read(path: Path) -> tuple[list[tuple[str, str]], dict[str, list[Question]], Counter[str]]:
    """Return the documents, the questions by the name of their file, and what is left out."""
    if path.is_dir():
        files = data_files(path)
    elif path.is_file():
        files = [path]
    else:
        raise ConfigError(f"searchqa: data: there is no {path}. {WHERE}")
    corpus = _Corpus()
    asked: dict[str, list[_Record]] = {}
    left: Counter[str] = Counter()
    for file in files:
        for part, record, place in _records(read_json(file), file):
            if isinstance(record, dict) and _asks(fields := lowered(record)):
                asked.setdefault(f"{file.name}{part}", []).append(_Record(fields, place))
            elif isinstance(record, (str, list, dict)):
                with _placed(place):
                    corpus.add(*document_of(record))
            else:
                left["neither a question nor a text"] += 1
    separate = len(corpus.documents)
    questions: dict[str, list[Question]] = {}
    for name, records in asked.items():
        for item in records:
            with _placed(item.place):
                question = _question(item.fields, corpus, left)
            if question is not None:
                questions.setdefault(name, []).append(question)
    if not questions:
        why = f" ({told(left)})" if left else ""
        raise ConfigError(f"searchqa: data: {path} has no questions with answers{why}. {WHERE}")
    if not corpus.documents:
        keys = shown_keys(next(iter(asked.values()))[0].fields)
        raise ConfigError(
            f"searchqa: data: {path} has questions but no documents. The keys of its first "
            f"question are {keys}. {WHERE}"
        )
    if separate:  # every question may be answered from the corpus
        del left[ALONE]
    left[EMPTY] += sum(not text for _, text in corpus.documents)
    return corpus.documents, questions, left


def _asks(fields: Mapping[str, Any]) -> bool:
    """Return whether a record is a question's, also if the question is missing."""
    paragraphs = any(isinstance(fields.get(key), (list, dict)) for key in PARAGRAPHS)
    answered = any(fields.get(key) is not None for key in ANSWERS)
    return (
        "question" in fields
        or (answered and (paragraphs or any(key in fields for key in QUESTIONS)))
        or (paragraphs and not any(isinstance(fields.get(key), str) for key in TEXTS))
    )


def _records(content: Any, file: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield the records of a file: the name of their part of it, the record, and its place.

    A file is a list, a mapping with a list of records, one of names to records or of titles to
    texts, or a single record. SQuAD's articles are taken apart into their questions.
    """
    if isinstance(content, dict):
        keys = {str(key).lower() for key in content}
        single = keys & {*QUESTIONS, "title", "contents", "paragraph_text"}
        lists = {key: value for key, value in content.items() if _is_records(value)}
        if lists and not single:
            for key, value in lists.items():
                part = "" if len(lists) == 1 else f" {key}"
                yield from _of_list(value, part, f"{file}, {key}")
            return
        if single:
            content = [content]
        elif all(isinstance(value, dict) for value in content.values()):
            content = [_named(str(key), value) for key, value in content.items()]
        else:
            content = [
                [str(key), value] if isinstance(value, (str, list, dict)) else value
                for key, value in content.items()
            ]
    yield from _of_list(content if isinstance(content, list) else [content], "", f"{file}")


def _of_list(records: list[Any], part: str, where: str) -> Iterator[tuple[str, Any, str]]:
    for number, record in enumerate(records, 1):
        place = f"{where}, record {number}"
        fields = lowered(record) if isinstance(record, dict) else {}
        articles = fields.get("paragraphs")
        if isinstance(articles, list) and any(isinstance(a, dict) and "qas" in a for a in articles):
            for article in articles:
                for asked in _article(fields.get("title"), article):
                    yield part, asked, place
        else:
            yield part, record, place


def _article(title: Any, article: Any) -> Iterator[Any]:
    """Yield the questions of a paragraph of SQuAD's, each with the text; without any, the text."""
    if not isinstance(article, dict):
        yield article
        return
    shared = {"title": title, "context": article.get("context")}
    questions = article.get("qas")
    if not isinstance(questions, list):  # damaged, which is counted
        yield shared
        questions = [] if questions is None else [questions]
    for asked in questions:
        yield {**shared, **asked} if isinstance(asked, dict) else asked


def _named(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the name under which it stands: a question's id, a document's title."""
    fields = lowered(record)
    key = "id" if _asks(fields) else "title"
    return record if key in fields else {key: name, **record}


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Within, a layout that is not understood is refused with its file and record.

    Raises:
        ConfigError: it is not understood.
    """
    try:
        yield
    except LayoutError as error:
        raise ConfigError(
            f"searchqa: data: {place}: a paragraph is not understood: {error}. Texts are read "
            f"under {', '.join(map(repr, TEXTS[:8]))} and the like, titles under 'title': rename "
            "the key."
        ) from error


def _question(record: Mapping[str, Any], corpus: _Corpus, left: Counter[str]) -> Question | None:
    """Return the question of a record, whose paragraphs are added; None if it has no answer.

    Args:
        record: the record.
        corpus: the documents so far.
        left: counts what is left out.

    Raises:
        LayoutError: its question is a list, or a paragraph is not understood.
    """
    asked = first(record, QUESTIONS)
    if isinstance(asked, (list, dict)) and not isinstance(asked, str):
        if isinstance(asked, list):
            raise LayoutError(f"its question is a list, {shown(asked)}: give one record a question")
        asked = first(lowered(asked), ("text", *QUESTIONS))
    text = text_of(asked) if isinstance(asked, str) else ""
    answers = answers_of(record)
    before = len(corpus.documents)
    paragraphs, evidence = _paragraphs(record, corpus)
    if not text:
        left["without a question"] += 1
        return None
    if unanswerable(record):
        left["marked as unanswerable"] += 1
        return None
    if not answers:
        left["without an answer"] += 1
        return None
    if not paragraphs and len(corpus.documents) == before:
        left[ALONE] += 1
    gold = list(dict.fromkeys(place for place, _ in evidence))
    steps = [step for step in _list(record.get("question_decomposition")) if isinstance(step, dict)]
    facts = _step_facts(steps) or [f"{place}/{part}" for place, part in evidence if part]
    # Of a paragraph alone, one may ask this and that.
    facts = facts or [f"{place}: {answers[0].casefold()}" for place in gold[-1:]]
    hops = len(steps) or len(gold)
    level = record.get("level")
    difficulty = level if isinstance(level, str) and level else hops or None
    name = next((record[key] for key in ("_id", "id", "qid", "question_id") if record.get(key)), "")
    name = text_of(name) if isinstance(name, (str, int, float)) else ""
    name = name or hashlib.sha256(text.encode()).hexdigest()[:16]
    known = tuple(dict.fromkeys(facts))
    return Question(name, text, tuple(dict.fromkeys(answers)), tuple(gold), difficulty, known)


def _step_facts(steps: list[dict[str, Any]]) -> list[str]:
    """Return the single questions that MuSiQue combines into one, with their answers.

    A later one refers to the answer of an earlier one by its number: "#1 >> country of
    citizenship".
    """
    facts: list[str] = []
    answers: dict[str, str] = {}  # by the step's number
    for number, step in enumerate(steps, 1):
        asked = re.sub(
            r"#(\d+)", lambda match: answers.get(match[1], match[0]), text_of(step.get("question"))
        )
        answers[f"{number}"] = text_of(step.get("answer"))
        if asked and answers[f"{number}"]:
            facts.append(f"{asked} {answers[f'{number}']}".casefold())
    return facts


def _paragraphs(record: Mapping[str, Any], corpus: _Corpus) -> tuple[int, list[tuple[int, str]]]:
    """Add a question's paragraphs to the corpus.

    Returns:
        The number of paragraphs, and the indices of those that answer it, in order, each with the
        number of the sentence, if known.
    """
    title = text_of(record["title"]) if isinstance(record.get("title"), str) else ""
    found: list[tuple[int, str]] = []
    own: dict[str, int | None] = {}
    count = 0
    for key in PARAGRAPHS:
        for name, text, supporting in documents_of(record.get(key), title):
            place = corpus.add(name, text)
            own[name] = place
            count += 1
            if place is not None and supporting:
                found.append((place, ""))
    if count == 1 and not found and isinstance(record.get("context"), str):
        found = [(place, "") for place in own.values() if place is not None]
    facts = unpacked(record.get("supporting_facts"))
    if isinstance(facts, dict):
        named = list(zip_longest(_list(facts.get("title")), _list(facts.get("sent_id"))))
    else:
        named = [tuple(fact) for fact in _list(facts) if isinstance(fact, list) and len(fact) == 2]
    for name, sentence in named:
        fact = text_of(name)
        known = own.get(fact)
        known = corpus.titled(fact) if known is None else known
        if known is not None:
            found.append((known, text_of(sentence)))
    return count, found


def told(left: Mapping[str, int]) -> str:
    """Return what is left out, in words: "5 without an answer, 1 asked twice"."""
    return ", ".join(f"{count} {why}" for why, count in left.items() if count)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
