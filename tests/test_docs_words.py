"""What the documentation quotes: commands as a shell takes them, and what the program says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrail.progress.reporter import line
from contrail.registry.plugins import load_plugins

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
EXAMPLES = ("", "examples")


def commands(page: Path) -> Iterator[str]:
    for match in SHELL.finditer(page.read_text()):
        yield from (line.partition("  #")[0] for line in match[2].splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_shell_would_expand_is_quoted(page: Path) -> None:
    """zsh refuses a pattern without a match: levels=[GoToLocal], stream.*.updates=1."""
    bare = [
        command for command in commands(page) if re.search(r"[*?\[\]]", QUOTED.sub("", command))
    ]
    assert not bare


def test_commands_are_found() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 100


def test_the_line_of_progress_is_quoted_as_it_is() -> None:
    said = [
        line({"zero_variance_groups": 0.5, "loss": 0.0}),
        line({"zero_variance_groups": 1.0, "loss": 0.0, "no_signal": 1.0}),
    ]
    (sentence,) = re.findall(
        r"the line of progress says ([^.]*)\.", (ROOT / "docs/faq.md").read_text()
    )
    phrases = re.findall(r"\*([^*]+)\*", sentence)
    assert len(phrases) == 2
    for phrase, text in zip(phrases, said, strict=True):
        assert phrase in text


def test_columns_are_called_as_they_are() -> None:
    headings = {metric.about()["heading"] for metric in load_plugins().episode_metrics}
    named = [
        name for page in PAGES for name in re.findall(r"the column \*([^*]+)\*", page.read_text())
    ]
    assert named
    assert set(named) <= headings


def test_what_is_quoted_of_a_message_is_in_the_program() -> None:
    """A message in back ticks with a colon and blanks, as in docs/engine.md."""
    texts = "".join(
        node.value
        for path in (ROOT / "contrail").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    engine = (ROOT / "docs/engine.md").read_text()
    (quoted,) = re.findall(r"`model: ([^`(]*)\(", engine)
    assert " ".join(quoted.split()) in texts
