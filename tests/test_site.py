"""The documentation as a site: pages that are written by programs, and the site's own list."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_commands_is_that_of_the_commands() -> None:
    writer = runpy.run_path(str(ROOT / "docs/write_cli.py"))
    assert (ROOT / "docs/cli.md").read_text() == writer["page"](), "python docs/write_cli.py"


def test_every_page_stands_in_the_site() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"- {page.name}\n" in site, page.name


def test_the_study_of_the_page_is_the_example() -> None:
    example = (ROOT / "examples/study.yaml").read_text()
    shown = "".join(line for line in example.splitlines(True) if not line.startswith("#"))
    assert f"```yaml\n{shown}```" in (ROOT / "docs/study.md").read_text()
    assert len(example.splitlines()) <= 20
