"""Results of commands, for tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


def refused(done: Done, words: list[str]) -> None:
    """Exit code 2, and one message with these words."""
    assert done.code == 2
    assert not done.out
    assert len(re.findall("^error: ", done.err, re.MULTILINE | re.IGNORECASE)) == 1, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err
