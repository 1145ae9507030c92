"""Names are text in every report: no markup, formula, escape or command of any language."""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from compared import row
from results import make_result

from contrail.comparison.summary import summarise
from contrail.names import visible
from contrail.plugin_files import load_file
from contrail.plugins.reports import (
    comparison,
    comparison_figures,
    comparison_tables,
    console,
    figures,
    table,
)
from contrail.plugins.trackers import tensorboard
from contrail.progress.reporter import Reporter
from contrail.registry.observers import Observers
from contrail.registry.plugins import Plugins

NAMES = [
    "shop_$5_$10",
    "$x^2$",
    r"$\frac$ \$ \alpha",
    "a_b^c%d&e#f~g{h}",
    "_hidden",
    "<b>bold</b> &amp; <script>",
    "[red]rich[/red] [/]",
    "[1] [link=x]",
    "* _a_ `b` [c](d)",
    "a|b",
    "two\nlines\r\nand\ttabs",
    "\x00\x07\x1b[31mred\x7f\x9b",
    "🙂 👩\u200d👩\u200d👧 漢字 ß é",
    "שלום \u202eolleh",
    "\ud800 half",
    "=1+1",
    "@SUM(A1)",
    "-2+3",
    " ",
    "long" * 3000,
    "%",
    "\\",
    "{",
    "C:\\new\\table",
]


def renamed(value: Any, old: str, new: str) -> Any:
    """JSON values in which a name, as it is or within other words, is another."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {renamed(key, old, new): renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [renamed(item, old, new) for item in value]
    return value


FEW = [NAMES[place : place + 4] for place in range(0, len(NAMES), 4)]
"""Figures take long to draw: four names to each."""
ENVIRONMENTS = ["babyai", "textcraft", "webshop", "textworld-express-coin-collector"]


def run_result(names: Sequence[str]) -> dict[str, Any]:
    """A result whose environments have these names, and the run and so on the first of them."""
    result = copy.deepcopy(make_result(max(3, len(names))))
    for environment, name in zip(ENVIRONMENTS, names, strict=False):
        result = renamed(result, environment, name)
    first = names[0]
    return {**result, "name": first, "model": first, "strategy": first, "adapter": first}


def compared(environments: Sequence[str], strategies: Sequence[str]) -> dict[str, Any]:
    """A comparison whose first environments and second strategies have these names."""
    kinds = ["replay", "ewc"][: len(strategies)]
    rows = [
        row(strategy, [[0.1, 0.2, 0.3], [0.5, 0.2, 0.1], [0.4, 0.6, end]], seed=seed)
        for strategy, end in zip(["sequential", *kinds], (0.2, 0.3, 0.4), strict=False)
        for seed in (0, 1)
    ]
    labels = ["sequential", *kinds]
    order = ("babyai", "textcraft")
    summary = summarise(environments[0], rows, labels, [order], [0, 1], "sequential")
    summary |= {"failed": {}, "shared": None}
    for kind, names in ((order, environments), (kinds, strategies)):
        for old, new in zip(kind, names, strict=False):
            summary = renamed(summary, old, new)
    return summary


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_a_run(name: str, tmp_path: Path, capsys: Any) -> None:
    result = run_result([name])
    before = copy.deepcopy(result)
    for module in (table, console):
        module.contrail_report(result, str(tmp_path))
    assert result == before
    shown = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert visible(name)[:20].strip() in shown
    rows = list(csv.DictReader(io.StringIO((tmp_path / "result.csv").read_text())))
    assert visible(name) in {rows[0]["environment"], rows[0]["environment"].removeprefix("'")}
    assert rows[0]["environment"][:1] not in ("=", "@", "-", "+")
    lines = table.markdown(result).splitlines()
    assert len(lines) == 2 + len(result["R"])
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {5}


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # of scripts that the font lacks
@pytest.mark.parametrize("names", FEW)
def test_figures_of_a_run(names: list[str], tmp_path: Path) -> None:
    result = run_result(names)
    before = copy.deepcopy(result)
    for module in (figures, tensorboard):
        module.contrail_report(result, str(tmp_path))
    assert result == before
    assert (tmp_path / "R.png").stat().st_size > 1000
    ticks = figures.heat_map(result).axes[0].get_xticklabels()
    for name, shown in zip(names, ticks, strict=True):
        assert not shown.get_parse_math()
        start = visible(name).strip()
        same = shown.get_text().replace("\n", "")[:12] == start.replace(" ", "")[:12]
        assert same or " " in start


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_a_comparison(name: str, tmp_path: Path, capsys: Any) -> None:
    made = compared([name], [name])
    for module in (comparison_tables, comparison):
        module.contrail_comparison(made, str(tmp_path))
    shown = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    tex = (tmp_path / "compare.tex").read_text()
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    for line in body:
        assert not line.startswith(("[", "*"))
        bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|text\w+)\{\}", "", line)
        bare = re.sub(r"\\[&%$#_{}]", "", bare)
        assert bare.count("$") % 2 == 0
        assert bare.count("{") == bare.count("}")
        assert not re.search(r"[%#~_^<>|]", bare)
    cells = [line.replace(r"\&", "").count("&") for line in body]
    assert set(cells) == {3, 4, 11}  # success, budget, metrics


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # of scripts that the font lacks
@pytest.mark.parametrize("names", FEW)
def test_figures_of_a_comparison(names: list[str], tmp_path: Path) -> None:
    made = compared(names[:2], names[2:])
    comparison_figures.contrail_comparison(made, str(tmp_path))
    for name in ("compare.png", "compare.curves.png"):
        assert (tmp_path / name).stat().st_size > 1000
    legend = comparison_figures.curves(made).legends[0].get_texts()
    assert len(legend) == 3


def test_visible() -> None:
    assert visible("plain $5 é 👩\u200d👧") == "plain $5 é 👩\u200d👧"
    assert visible("a\n\x1b[31m\u202e\ud800") == r"a\n\x1b[31m\u202e\ud800"


def test_progress_shows_markup_as_text(capsys: Any) -> None:
    with Reporter(1, 1) as reporter:
        reporter.start("evaluation", "evaluate [red]x[/red]\x1b[31m", 1)
        reporter.advance()
        reporter.done("[bold]done")
    said = capsys.readouterr().err
    assert "[red]x[/red]" in said
    assert "[bold]done" in said
    assert "\x1b[31m" not in said


def test_a_report_that_raises_takes_no_other_with_it(tmp_path: Path) -> None:
    made = Plugins()
    for place, body in enumerate(("pass", "1 / 0", "raise SystemExit(1)", "pass")):
        file = tmp_path / f"report_{place}.py"
        file.write_text(
            "import pathlib\nimport contrail\n@contrail.hookimpl\n"
            "def contrail_report(result, directory):\n"
            f"    {body}\n    pathlib.Path(directory, '{place}').touch()\n"
        )
        made.add(load_file(file), f"report_{place}")
    observers = Observers(made, tmp_path)
    errors = observers.report("contrail_report", result={}, directory=str(tmp_path))
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ""} >= {"0", "3"}
    assert len(errors) == 2
    assert errors[0].plugin == "report_2"
    assert "SystemExit" in errors[0].error
    assert errors[1].plugin == "report_1"
    assert "ZeroDivisionError" in errors[1].error
