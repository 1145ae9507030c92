"""Draws contrail's packages and what they import: `python docs/draw_packages.py`.

Writes docs/packages.svg: a line for each package or module, in the order of the layers in
pyproject.toml, with the first line of its docstring, and an arc for each import. A dark arc leads
to the highest line that cannot be reached through others; the rest are light.
"""

from __future__ import annotations

import ast
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path

import grimp

HOME = Path(__file__).parents[1]
DRAWING = HOME / "docs" / "packages.svg"
PLUGINS = ("envs", "plugins", "strategies")
ROW, TOP, AXIS, WIDTH = 24, 44, 300, 1040
Arrows = Mapping[str, set[str]]


@contextmanager
def installed_layout() -> Iterator[Path]:
    """Context manager: a folder in which contrail's packages lie as they do when installed."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "contrail")
        package.mkdir()
        for path in (HOME / "contrail").iterdir():
            if path.name not in PLUGINS:
                (package / path.name).symlink_to(path)
        for name in PLUGINS:
            (package / name).symlink_to(HOME / name)
        yield Path(folder)


def layers() -> list[list[str]]:
    """Return the layers of pyproject.toml, the highest first."""
    config = tomllib.loads((HOME / "pyproject.toml").read_text())
    contract = config["tool"]["importlinter"]["contracts"][0]
    named = [[name.strip(" ()") for name in layer.split("|")] for layer in contract["layers"]]
    return [[name for name in layer if _source(name).is_file()] for layer in named]


def imports() -> Arrows:
    """Return what each package or module imports, also for type checkers alone."""
    with installed_layout() as folder:
        sys.path.insert(0, str(folder))
        try:
            graph = grimp.build_graph("contrail", cache_dir=None)
        finally:
            sys.path.remove(str(folder))
    arrows: dict[str, set[str]] = {name: set() for layer in layers() for name in layer}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            source, target = (f"{name}.".split(".")[1] for name in (module, other))
            if source in arrows and target in arrows and source != target:
                arrows[source].add(target)
    return arrows


def reachable(arrows: Arrows, start: str) -> set[str]:
    """Return everything that a package imports, directly or through others."""
    found: set[str] = set()
    stack = [start]
    while stack:
        new = arrows[stack.pop()] - found
        found |= new
        stack.extend(new)
    return found


def summary(name: str) -> str:
    """Return the first line of a package's or module's docstring."""
    return (ast.get_docstring(ast.parse(_source(name).read_text())) or "").partition("\n")[0]


def draw() -> str:
    """Return the drawing as SVG."""
    arrows = imports()
    rows: dict[str, float] = {}
    lines = []
    y = float(TOP)
    for layer in layers():
        lines.append(
            f'<rect x="{AXIS + 4}" y="{y - 10}" width="3" height="{ROW * len(layer) - 4}"/>'
        )
        for name in layer:
            rows[name] = y
            label = f"{name}/" if _source(name).name == "__init__.py" else name
            lines.append(f'<text x="{AXIS + 14}" y="{y + 4}"><tspan class="name">{label}</tspan>')
            lines.append(f'<tspan x="{AXIS + 128}">{escape(summary(name))}</tspan></text>')
            y += ROW
        y += 4 if layer else 0
    light, dark = [], []
    for source, targets in arrows.items():
        for target in sorted(targets, key=lambda name: rows[name]):
            others = targets - {target}
            follows = any(target in reachable(arrows, other) for other in others)
            (light if follows else dark).append(_arc(rows[source], rows[target]))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:g}" '
            f'width="{WIDTH}" height="{y:g}" font-family="sans-serif" font-size="12">',
            "<style>path{fill:none}.light{stroke:#ccd}.dark{stroke:#346;stroke-width:1.4}"
            ".dark path{marker-end:url(#tip)}.name{font-family:monospace;font-weight:bold}"
            "rect{fill:#346}</style>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
            'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#346"/></marker>',
            '<rect width="100%" height="100%" style="fill:#fff"/>',
            f'<text x="{AXIS + 14}" y="20">Arcs run from a package to what it imports, always '
            "downwards. Light: also reached through others.</text>",
            f'<g class="light">{"".join(light)}</g>',
            f'<g class="dark">{"".join(dark)}</g>',
            *lines,
            "</svg>\n",
        ]
    )


def _source(name: str) -> Path:
    folder = HOME if name in PLUGINS else HOME / "contrail"
    package = folder / name / "__init__.py"
    return package if package.is_file() else folder / f"{name}.py"


def _arc(start: float, end: float) -> str:
    reach = min(AXIS - 10, 14 + 0.42 * (end - start))
    left, right = AXIS - reach, AXIS - 2
    return f'<path d="M{right} {start:g}C{left:g} {start:g} {left:g} {end:g} {right} {end:g}"/>'


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(draw())
    else:
        DRAWING.write_text(draw())
