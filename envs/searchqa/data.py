"""Questions and documents from files in the layout of HotpotQA, MuSiQue and their relatives."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from contrail import ConfigError
from contrail.envs.searchqa.answers import LONGEST, Question, plain_title
from contrail.envs.searchqa.phrases import spaced
from contrail.envs.searchqa.split import split_questions
from contrail.envs.shared.bm25 import Index
from contrail.envs.shared.data_files import data_files, read_json

TEXT_KEYS = ("text", "paragraph_text", "contents", "passage", "sentences", "paragraph")
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

    def search(self, words: str, count: int) -> list[int]:
        """Return the places of the best documents, best first."""
        words = words[:LONGEST]
        letters = spaced(words)
        return self.index.search(words if letters == words else f"{letters} {words}", count)


@lru_cache(maxsize=4)
def load_library(data: str) -> Library:
    """Return the library of a file or directory, or the generated one; the same for all instances.

    Raises:
        ConfigError: there is no usable file, or a file cannot be read.
    """
    if data:
        documents, questions = _read(Path(data).expanduser())
    else:
        from contrail.envs.searchqa.facts import generate

        documents, questions = generate()
    # The title counts twice: it is mostly what one searches for.
    index = Index([spaced(f"{title} {title} {text}") for title, text in documents])
    titles = frozenset(plain_title(title) for title, _ in documents)
    return Library(tuple(documents), index, titles, split_questions(questions, data))


class _Corpus:
    """Documents by their place, each once."""

    def __init__(self) -> None:
        self.documents: list[tuple[str, str]] = []
        self._places: dict[tuple[str, str], int] = {}
        self._titled: dict[str, int] = {}

    def add(self, title: Any, text: Any) -> int | None:
        """Return the index of a document, which is new or known; None for an empty one."""
        document = (_text(title), _text(text))
        if not any(document):
            return None
        if document not in self._places:
            self._places[document] = len(self.documents)
            self._titled.setdefault(document[0], len(self.documents))
            self.documents.append(document)
        return self._places[document]

    def titled(self, title: Any) -> int | None:
        """Return the first document of a title."""
        return self._titled.get(_text(title))


def _read(path: Path) -> tuple[list[tuple[str, str]], dict[str, list[Question]]]:
    """Return the documents, and the questions by the name of their file."""
    if path.is_dir():
        files = data_files(path)
    elif path.is_file():
        files = [path]
    else:
        raise ConfigError(f"searchqa: data: there is no {path}. {WHERE}")
    corpus = _Corpus()
    asked: dict[str, list[Mapping[str, Any]]] = {}
    for file in files:
        content = read_json(file)
        if isinstance(content, dict) and isinstance(content.get("data"), list):
            content = content["data"]
        if isinstance(content, dict) and not content.keys() & {"question", "title", "contents"}:
            for title, text in content.items():
                if isinstance(text, (str, list)):
                    corpus.add(title, text)
            continue
        records = content if isinstance(content, list) else [content]
        for record in records:
            if isinstance(record, dict) and isinstance(record.get("question"), str):
                asked.setdefault(file.name, []).append(record)
            elif isinstance(record, dict):
                corpus.add(*_document(record))
    questions: dict[str, list[Question]] = {}
    for name, records in asked.items():
        for record in records:
            if question := _question(record, corpus):
                questions.setdefault(name, []).append(question)
    if not questions:
        raise ConfigError(f"searchqa: data: {path} has no questions with answers. {WHERE}")
    if not corpus.documents:
        raise ConfigError(f"searchqa: data: {path} has questions but no documents. {WHERE}")
    return corpus.documents, questions


def _document(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """Title and text of a record; in Search-R1's corpora the title is the first line."""
    text = next((record[key] for key in TEXT_KEYS if record.get(key)), "")
    title = record.get("title")
    if not title and isinstance(text, str) and "\n" in text:
        title, _, text = text.partition("\n")
        title = title.strip('" ')
    return title, text


def _question(record: Mapping[str, Any], corpus: _Corpus) -> Question | None:
    """Return the question of a record, whose paragraphs are added; None if it has no answer."""
    text = _text(record["question"])
    answers = [
        answer
        for key in ("answer", "answers", "golden_answers", "answer_aliases", "aliases")
        for answer in _answers(record.get(key))
    ]
    evidence = [(place, part) for place, part in _paragraphs(record, corpus) if place is not None]
    if not text or not answers or record.get("answerable") is False:
        return None
    gold = list(dict.fromkeys(place for place, _ in evidence))
    steps = [step for step in _list(record.get("question_decomposition")) if isinstance(step, dict)]
    facts = _step_facts(steps) or [f"{place}/{part}" for place, part in evidence if part]
    # Of a paragraph alone, one may ask this and that.
    facts = facts or [f"{place}: {answers[0].casefold()}" for place in gold[-1:]]
    hops = len(steps) or len(gold)
    level = record.get("level")
    difficulty = level if isinstance(level, str) and level else hops or None
    name = next((record[key] for key in ("_id", "id", "qid", "question_id") if record.get(key)), "")
    name = _text(name) or hashlib.sha256(text.encode()).hexdigest()[:16]
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
            r"#(\d+)", lambda match: answers.get(match[1], match[0]), _text(step.get("question"))
        )
        answers[f"{number}"] = _text(step.get("answer"))
        if asked and answers[f"{number}"]:
            facts.append(f"{asked} {answers[f'{number}']}".casefold())
    return facts


def _paragraphs(record: Mapping[str, Any], corpus: _Corpus) -> Iterator[tuple[int | None, str]]:
    """Add a question's paragraphs to the corpus.

    Returns:
        The indices of those that answer it, in order, each with the number of the sentence, if
        known.
    """
    for paragraph in _list(record.get("paragraphs")):
        if isinstance(paragraph, dict):
            place = corpus.add(*_document(paragraph))
            if paragraph.get("is_supporting"):
                yield place, ""
    context = record.get("context")
    if isinstance(context, dict):  # as Hugging Face's copy has it: columns
        columns = _list(context.get("title")), _list(context.get("sentences"))
        pairs = list(zip(*columns, strict=False))
    else:
        pairs = _pairs(context)
    own = {_text(title): corpus.add(title, text) for title, text in pairs}
    facts = record.get("supporting_facts")
    if isinstance(facts, dict):
        named = list(zip_longest(_list(facts.get("title")), _list(facts.get("sent_id"))))
    else:
        named = _pairs(facts)
    for title, sentence in named:
        known = own.get(_text(title))
        yield corpus.titled(title) if known is None else known, _text(sentence)


def _pairs(items: Any) -> list[tuple[Any, Any]]:
    """Return the title and the second part of each entry of a list that has both."""
    return [
        _document(item) if isinstance(item, dict) else (item[0], item[1])
        for item in _list(items)
        if isinstance(item, dict) or (isinstance(item, list) and len(item) == 2)
    ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = " ".join(map(_text, value))
    # HotpotQA writes some titles as HTML does: Harper &amp; Row.
    return "" if value is None else " ".join(html.unescape(str(value)).split())


def _answers(value: Any) -> list[str]:
    """Return the texts of an answer: a text, a number, a truth value, a list, or SQuAD's {text:
    …}."""
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, bool):
        value = "yes" if value else "no"
    items = value if isinstance(value, list) else [value]
    return [_text(item) for item in items if isinstance(item, (str, int, float)) and _text(item)]
