"""Writes the page of a run, a comparison or a study into its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import contrail

FILE = "report.html"


@contrail.hookimpl
def contrail_report(result: dict[str, Any], directory: str) -> None:
    """Write the page of a run."""
    # Imported here, so that loading the plugin costs the command line nothing.
    from contrail.plugins.html_report.page import html
    from contrail.plugins.html_report.run import page
    from contrail.plugins.reports.table import write

    write(Path(directory, FILE), html(*page(result, Path(directory))))


@contrail.hookimpl
def contrail_comparison(comparison: dict[str, Any], directory: str) -> None:
    """Write the page of a comparison."""
    from contrail.plugins.html_report.comparison import page
    from contrail.plugins.html_report.page import html
    from contrail.plugins.reports.table import write

    write(Path(directory, FILE), html(page(comparison, Path(directory))))


@contrail.hookimpl
def contrail_study(study: dict[str, Any], directory: str) -> None:
    """Write the page of a study, EXPERIMENT.html."""
    from contrail.plugins.html_report.page import html
    from contrail.plugins.html_report.study import page
    from contrail.plugins.reports.table import write

    write(Path(directory, f"{study['experiment']}.html"), html(page(study, Path(directory))))
