"""Templates whose prompt opens the model's thought, in the forms that TRL ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trl
from thinking import tokenizer

from contrail import Observation
from contrail.errors import ContrailError, InvalidAction
from contrail.model.chat import Chat
from contrail.plugins.adapters.json_call import Json

FILES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))


def opening() -> list[str]:
    """The templates whose prompt ends within a thought."""
    found = []
    for file in FILES:
        template = file.read_text(encoding="utf-8")
        by = tokenizer(template) if "<think>" in template else None
        try:
            prompt = by.decode(Chat(by).start("", "x")) if by is not None else ""
        except ContrailError:  # it cannot be used here, and says so
            continue
        if prompt.rstrip().endswith("<think>"):
            found.append(file.stem)
    return found


NAMES = opening()


def chat_of(name: str) -> tuple[Any, Chat]:
    file = next(file for file in FILES if file.stem == name)
    by = tokenizer(file.read_text(encoding="utf-8"))
    return by, Chat(by)


def tokens(by: Any, text: str) -> list[int]:
    found: list[int] = by(text, add_special_tokens=False)["input_ids"]
    return found


def test_there_are_some_that_write_an_empty_thought_in_hindsight() -> None:
    assert len(NAMES) > 10
    kept = []
    for name in NAMES:
        by, chat = chat_of(name)
        written = by.decode([*chat.start("", "a"), *chat.answer("go"), *chat.follow("b")])
        if "<think>\n\n</think>" in written:
            kept.append(name)
    assert kept


@pytest.mark.parametrize("name", NAMES)
def test_a_thought_without_an_end_is_no_action(name: str) -> None:
    by, chat = chat_of(name)
    said = chat.said(tokens(by, 'I may say {"action": "go"} or'))
    with pytest.raises(InvalidAction):
        Json().parse(said, Observation(""))
    ended = chat.said(tokens(by, 'hm</think>{"action": "go"}'))
    assert Json().parse(ended, Observation("")) == "go"


@pytest.mark.parametrize("name", NAMES)
def test_own_words_do_not_open_the_thought_again(name: str) -> None:
    by, chat = chat_of(name)
    words = by.decode(chat.words("<think>hm</think>\ngo"))
    assert words.startswith("hm</think>\ngo")
