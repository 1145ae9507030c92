"""How the records of many question-answering data sets are laid out: keys, texts, answers.

Keys are compared in lower case. What is not understood is refused, with the keys that were found.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

QUESTIONS = ("question", "query", "question_text")
ANSWERS = (
    "answer",
    "answers",
    "golden_answers",
    "gold_answers",
    "gold_answer",
    "possible_answers",
    "answer_text",
    "answer_aliases",
    "aliases",
)
PARAGRAPHS = (
    "paragraphs",
    "context",
    "contexts",
    "ctxs",
    "documents",
    "docs",
    "passages",
    "positive_ctxs",
    "hard_negative_ctxs",
    "negative_ctxs",
    "retrieved_docs",
    "retrieval_result",
    "search_results",
)
TEXTS = (
    "text",
    "paragraph_text",
    "contents",
    "passage",
    "sentences",
    "paragraph",
    "content",
    "passage_text",
    "body",
    "body_text",
    "snippet",
    "context",
    "contexts",
    "document",
    "document_text",
    "doc_text",
    "doc",
    "page_content",
    "full_text",
    "raw_text",
    "plaintext",
    "sentence",
    "sents",
    "lines",
    "chunk",
    "chunk_text",
    "article",
    "article_text",
    "abstract",
    "summary",
    "extract",
    "description",
    "value",
)
TITLES = (
    "title",
    "wikipedia_title",
    "page_title",
    "document_title",
    "doc_title",
    "passage_title",
    "paragraph_title",
    "article_title",
    "wiki_title",
    "titles",
    "heading",
    "header",
    "page",
    "entity",
    "name",
)
NAMES = (
    "id",
    "_id",
    "idx",
    "doc_id",
    "docid",
    "pid",
    "uid",
    "url",
    "uri",
    "source",
    "type",
    "split",
)
INSIDE = ("metadata", "meta")  # where some copies keep the title
COLUMNS = 200  # characters of a refused value that a message shows


class LayoutError(ValueError):
    """A record's layout is not understood; the message says what was found."""


def lowered(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the record with its keys in lower case."""
    return {str(key).strip().lower(): value for key, value in record.items()}


def first(record: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the value of the first of the keys that has one; None for none."""
    return next((record[key] for key in keys if record.get(key) not in (None, "", [], {})), None)


def text_of(value: Any) -> str:
    """Return the text of a value, in single spaces: a text, a number, or texts in lists and
    mappings.

    Raises:
        LayoutError: a mapping holds its text under no known key.
    """
    if isinstance(value, list):
        return " ".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        inside = lowered(value)
        if not inside.keys() & set(TEXTS):
            raise LayoutError(f"no text under a known key, but {shown_keys(value)}")
        return text_of(first(inside, TEXTS))
    # HotpotQA writes some titles as HTML does: Harper &amp; Row.
    return "" if value is None else " ".join(html.unescape(str(value)).split())


def document_of(item: Any, title: str = "") -> tuple[str, str]:
    """Return title and text of a paragraph or of a corpus's record.

    In Search-R1's corpora the title is the first line.

    Args:
        item: a text; a title with its text or sentences; or a mapping of both.
        title: the title of what the paragraph stands in, for one that has none of its own.

    Raises:
        LayoutError: it is none of these.
    """
    if isinstance(item, str):
        return title, text_of(item)
    if isinstance(item, list):
        if len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], (str, list)):
            return text_of(item[0]), text_of(item[1])
        if item and all(isinstance(part, str) for part in item):
            return title, text_of(item)
        raise LayoutError(f"neither [title, text] nor texts, but {shown(item)}")
    if not isinstance(item, dict):
        raise LayoutError(f"neither a text nor a mapping, but {shown(item)}")
    record = lowered(item)
    own = first(record, TITLES)
    for key in INSIDE:
        if own is None and isinstance(record.get(key), dict):
            own = first(lowered(record[key]), TITLES)
    value = first(record, TEXTS)
    if value is None and not record.keys() & set(TEXTS):
        nested = [part for part in record.values() if isinstance(part, dict)]
        if len(nested) == 1 and lowered(nested[0]).keys() & set(TEXTS):
            value = nested[0]
        elif not own or any(
            isinstance(part, (str, list, dict)) and part and key not in (*TITLES, *NAMES, *INSIDE)
            for key, part in record.items()
        ):
            raise LayoutError(f"no text under a known key, but {shown_keys(item)}")
    if isinstance(value, dict):
        return document_of(value, text_of(own) or title)
    if not own and isinstance(value, str) and "\n" in value.strip():
        own, _, value = value.strip().partition("\n")
        own = own.strip('" ')
    return text_of(own) or title, text_of(value)


def documents_of(value: Any, title: str = "") -> Iterator[tuple[str, str, bool]]:
    """Yield title, text, and whether it is marked as supporting, of each of a record's paragraphs.

    They are a list, columns of titles and texts, a mapping of titles to texts, one document, or
    any of these as JSON in a text.

    Raises:
        LayoutError: they are none of these.
    """
    value = unpacked(value)
    if value is None:
        return
    if isinstance(value, dict):
        record = lowered(value)
        titles, texts = first(record, TITLES), first(record, TEXTS)
        if isinstance(titles, list):
            if not isinstance(texts, list) or len(texts) != len(titles):
                raise LayoutError(
                    f"{len(titles)} titles and not as many texts under a known key, but "
                    f"{shown_keys(value)}"
                )
            value = [list(pair) for pair in zip(map(text_of, titles), texts, strict=True)]
        elif isinstance(titles, str) or isinstance(texts, (str, list)):
            value = [value]
        else:
            value = [[str(key), part] for key, part in value.items()]
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, (str, list, dict)):  # null, in place of one that is missing
            continue
        name, text = document_of(item, title)
        marks = lowered(item) if isinstance(item, dict) else {}
        yield name, text, any(marks.get(k) for k in ("is_supporting", "is_gold", "supporting"))


def unpacked(value: Any) -> Any:
    """Return a value that is written as JSON in a text; others as they are."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # a text that begins so
            return value
    return value


def answers_of(record: Mapping[str, Any]) -> list[str]:
    """Return the right answers, the one to give first."""
    return [text for key in ANSWERS for text in _answers(unpacked(record.get(key)))]


def _answers(value: Any) -> Iterator[str]:
    """Yield the texts of an answer: a text, a number, a truth value, a list, or a mapping such as
    SQuAD's {text: …} and TriviaQA's {Value: …, Aliases: …}."""
    if isinstance(value, dict):
        record = lowered(value)
        for key in ("text", "answer", "value", "name", "aliases"):
            yield from _answers(record.get(key))
    elif isinstance(value, list):
        for item in value:
            yield from _answers(item)
    elif isinstance(value, bool):
        yield "yes" if value else "no"
    elif isinstance(value, (str, int, float)) and (text := text_of(value)):
        yield text


def unanswerable(record: Mapping[str, Any]) -> bool:
    """Return whether the record says that its question has no answer."""
    return record.get("answerable") is False or any(
        record.get(key) is True for key in ("is_impossible", "unanswerable", "no_answer")
    )


def shown_keys(record: Mapping[Any, Any]) -> str:
    """Return the keys of a record for a message."""
    return ", ".join(repr(str(key)) for key in list(record)[:12]) or "nothing"


def shown(value: Any) -> str:
    """Return a value for a message."""
    text = repr(value)
    return text if len(text) <= COLUMNS else f"{text[:COLUMNS]}…"
