"""The HTML file: template, style, scripts, charting library and data in one.

Everything that a user, a model or an environment has written is JSON, which the scripts show as
text; no part of it is ever markup.
"""

from __future__ import annotations

import base64
import gzip
import html as escaping
import importlib.util
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
CHARTS = ("bokeh.min.js", "bokeh-api.min.js")
"""The files of the charting library that the page needs."""


def html(data: dict[str, Any], packed: Sequence[bytes] = ()) -> bytes:
    """Return the page.

    Args:
        data: what the page shows, see `run.page` and `comparison.page`.
        packed: compressed JSON that is decoded on demand: the index of the episodes, then chunks of
            episodes.
    """
    modules = {path.stem: path.read_bytes() for path in sorted(STATIC.glob("*.js"))}
    main = modules.pop("main").decode()
    # Modules import one another by names that this map resolves: nothing is fetched.
    imports = {
        f"report/{name}": f"data:text/javascript;base64,{_base64(source)}"
        for name, source in modules.items()
    }
    parts = {
        "TITLE": escaping.escape(data["title"]),
        "STYLE": (STATIC / "style.css").read_text(),
        "IMPORTS": json.dumps({"imports": imports}),
        "DATA": embedded(data),
        "PACKED": "\n".join(
            f'<script type="text/plain" id="packed-{number}">{_base64(chunk)}</script>'
            for number, chunk in enumerate([charts(), *packed])
        ),
        "MAIN": main,
    }
    text = (STATIC / "page.html").read_text()
    # One pass: a name of the template in somebody's text is not replaced.
    pieces = text.split("@@")
    return "".join(parts[p] if n % 2 else p for n, p in enumerate(pieces)).encode()


def embedded(data: Any) -> str:
    """Return JSON that nothing in it can end early inside a script element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def pack(data: Any) -> bytes:
    """Return compressed JSON; equal data are equal bytes."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


@cache
def charts() -> bytes:
    """Return the charting library, compressed.

    Raises:
        ImportError: bokeh is not installed.
    """
    # The package's scripts are all that is needed: importing it would take a second.
    found = importlib.util.find_spec("bokeh")
    if found is None or not found.submodule_search_locations:
        raise ImportError("report.html needs bokeh. Try: pip install bokeh")
    folder = Path(found.submodule_search_locations[0], "server", "static", "js")
    scripts = b"\n".join((folder / name).read_bytes() for name in CHARTS)
    return gzip.compress(scripts, compresslevel=9, mtime=0)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
