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
