"""Makes a site of pages that are also read in the repository: mkdocs calls these hooks.

README.md, CONTRIBUTING.md and CHANGELOG.md stand outside docs/, and pages link to examples. The
site has all of them, and their links lead there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HOME = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and examples that stand outside docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_linked(name)))
    for path in sorted([*(HOME / "examples").glob("*.*"), HOME / "LICENSE"]):
        target = path.relative_to(HOME).as_posix()
        suffix = "" if path.suffix in (".yaml", ".py") else ".txt"
        files.append(File.generated(config, target + suffix, content=path.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that leave docs/ to where the site has their targets."""
    return _moved(markdown, "docs/")


def _linked(name: str) -> str:
    return _moved((HOME / name).read_text(), "")


def _moved(text: str, folder: str) -> str:
    """Return a text of a folder of the repository with the site's links, outside its code."""
    parts = FENCE.split(text)
    return "".join(
        part if index % 2 else LINK.sub(lambda match: f"]({_target(match[1], folder)}", part)
        for index, part in enumerate(parts)
    )


def _target(link: str, folder: str) -> str:
    """Return where the site has what a link of the repository leads to."""
    if folder and not link.startswith("../"):
        return link
    path = link.removeprefix("../").removeprefix("docs/")
    return PAGES.get(path, "LICENSE.txt" if path == "LICENSE" else path)
